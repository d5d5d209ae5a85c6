resource "alicloud_kms_key" "aes" {
  description            = var.changed ? "changed" : "first"
  pending_window_in_days = 7
  automatic_rotation     = var.changed ? "Disabled" : "Enabled"
  rotation_interval      = var.changed ? null : "604800s"
  tags                   = var.changed ? { team = "green" } : { team = "blue", floor = "2" }
}

resource "alicloud_kms_key" "of" {
  for_each = {
    Aliyun_AES_128 = "ENCRYPT/DECRYPT"
    Aliyun_AES_192 = "ENCRYPT/DECRYPT"
    RSA_2048       = "ENCRYPT/DECRYPT"
    RSA_3072       = "SIGN/VERIFY"
    EC_P256        = "SIGN/VERIFY"
    EC_P256K       = "SIGN/VERIFY"
  }
  key_spec               = each.key
  key_usage              = each.value
  pending_window_in_days = 7
}

resource "alicloud_kms_key" "hsm" {
  protection_level       = "HSM"
  pending_window_in_days = 7
}

resource "alicloud_kms_key" "software" {
  protection_level       = "SOFTWARE"
  description            = var.changed ? null : "taken away"
  pending_window_in_days = 7
}

resource "alicloud_kms_key" "external" {
  origin                 = "EXTERNAL"
  pending_window_in_days = 7
}

resource "alicloud_kms_key" "disabled" {
  status                 = var.changed ? "Enabled" : "Disabled"
  pending_window_in_days = 7
}

resource "alicloud_kms_key" "protected" {
  deletion_protection             = var.changed ? "Disabled" : "Enabled"
  deletion_protection_description = var.changed ? null : "not this one"
  pending_window_in_days          = 7
}

resource "alicloud_kms_alias" "one" {
  alias_name = "alias/terraform-one"
  key_id     = var.changed ? alicloud_kms_key.hsm.id : alicloud_kms_key.aes.id
}

resource "alicloud_kms_key_version" "second" {
  key_id = alicloud_kms_key.aes.id
}
