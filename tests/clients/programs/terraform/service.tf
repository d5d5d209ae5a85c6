data "alicloud_kms_service" "current" {
  enable = "On"
}

output "status" {
  value = data.alicloud_kms_service.current.status
}
