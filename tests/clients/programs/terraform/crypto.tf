variable "plaintexts" {
  type = map(string)
}

resource "alicloud_kms_key" "key" {
  pending_window_in_days = 7
}

resource "alicloud_kms_ciphertext" "sealed" {
  for_each  = var.plaintexts
  key_id    = alicloud_kms_key.key.id
  plaintext = each.value
}

resource "alicloud_kms_ciphertext" "bound" {
  for_each           = var.plaintexts
  key_id             = alicloud_kms_key.key.id
  plaintext          = each.value
  encryption_context = { place = "here", "key" = each.key }
}

data "alicloud_kms_plaintext" "sealed" {
  for_each        = var.plaintexts
  ciphertext_blob = alicloud_kms_ciphertext.sealed[each.key].ciphertext_blob
}

data "alicloud_kms_plaintext" "bound" {
  for_each           = var.plaintexts
  ciphertext_blob    = alicloud_kms_ciphertext.bound[each.key].ciphertext_blob
  encryption_context = { "key" = each.key, place = "here" }
}

output "sealed" {
  value = { for name, data in data.alicloud_kms_plaintext.sealed : name => data.plaintext }
}

output "bound" {
  value = { for name, data in data.alicloud_kms_plaintext.bound : name => data.plaintext }
}
