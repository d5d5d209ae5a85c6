# A key of the instance, with a policy of its own.
data "alicloud_kms_instances" "all" {}

resource "alicloud_kms_key" "key" {
  dkms_instance_id       = data.alicloud_kms_instances.all.instances[0].instance_id
  pending_window_in_days = 7
  policy = jsonencode({
    Version = "1"
    Statement = concat([{
      Sid       = "kms default key policy"
      Effect    = "Allow"
      Principal = { RAM = ["acs:ram::1234567890123456:*"] }
      Action    = ["kms:*"]
      Resource  = ["*"]
      }], var.changed ? [{
      Sid       = "second"
      Effect    = "Allow"
      Principal = { RAM = ["acs:ram::1234567890123456:user/somebody"] }
      Action    = ["kms:Encrypt"]
      Resource  = ["*"]
    }] : [])
  })
}
