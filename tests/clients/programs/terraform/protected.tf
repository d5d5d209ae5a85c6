resource "alicloud_kms_key" "protected" {
  deletion_protection    = var.changed ? "Disabled" : "Enabled"
  pending_window_in_days = 7
}
