resource "alicloud_kms_key" "secrets" {
  pending_window_in_days = 7
}

data "alicloud_kms_instances" "all" {}

resource "alicloud_kms_secret" "plain" {
  secret_name                   = "terraform/plain"
  secret_data                   = var.changed ? "-_ of binary" : "Secret data."
  secret_data_type              = var.changed ? "binary" : "text"
  version_id                    = var.changed ? "00002" : "00001"
  description                   = var.changed ? "changed" : "first"
  force_delete_without_recovery = true
  tags                          = var.changed ? { team = "green" } : { team = "blue", floor = "2" }
}

resource "alicloud_kms_secret" "full" {
  secret_name                   = "terraform/full"
  secret_data                   = var.changed ? "two\r\nlines" : " \"quoted\" "
  version_id                    = var.changed ? "v2" : "v1"
  version_stages                = var.changed ? ["ACSCurrent", "second"] : ["ACSCurrent"]
  encryption_key_id             = alicloud_kms_key.secrets.id
  dkms_instance_id              = data.alicloud_kms_instances.all.instances[0].instance_id
  force_delete_without_recovery = true
  policy = jsonencode({
    Version = "1"
    Statement = [{
      Sid       = var.changed ? "changed" : "first"
      Effect    = "Allow"
      Principal = { RAM = ["acs:ram::1234567890123456:*"] }
      Action    = ["kms:*"]
      Resource  = ["*"]
    }]
  })
}
