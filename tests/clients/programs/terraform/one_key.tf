resource "alicloud_kms_key" "one" {
  pending_window_in_days = 7
}
