resource "alicloud_kms_key" "orders" {
  description            = "Data keys of orders"
  key_spec               = "Aliyun_AES_256"
  automatic_rotation     = "Enabled"
  rotation_interval      = "7776000s"
  pending_window_in_days = 7
}

resource "alicloud_kms_alias" "orders" {
  alias_name = "alias/orders"
  key_id     = alicloud_kms_key.orders.id
}
