seal "alicloudkms" {
  region     = "cn-hangzhou"
  domain     = "kms.example:8443"
  kms_key_id = "alias/example"
}
