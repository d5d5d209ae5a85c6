resource "alicloud_kms_secret" "kept" {
  secret_name                   = "terraform/kept"
  secret_data                   = "x"
  version_id                    = "v1"
  recovery_window_in_days       = var.changed ? null : 7
  force_delete_without_recovery = var.changed
}
