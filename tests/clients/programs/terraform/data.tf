resource "alicloud_kms_key" "key" {
  description            = "for the data sources"
  pending_window_in_days = 7
}

resource "alicloud_kms_alias" "alias" {
  alias_name = "alias/data-sources"
  key_id     = alicloud_kms_key.key.id
}

data "alicloud_kms_keys" "by_description" {
  description_regex = "^for the data"
  status            = "Enabled"
  depends_on        = [alicloud_kms_key.key]
}

data "alicloud_kms_keys" "by_id" {
  ids = [alicloud_kms_key.key.id]
}

data "alicloud_kms_aliases" "by_name" {
  name_regex = "data-sources$"
  depends_on = [alicloud_kms_alias.alias]
}

data "alicloud_kms_key_versions" "of_the_key" {
  key_id = alicloud_kms_key.key.id
}

data "alicloud_kms_instances" "all" {}

data "alicloud_kms_instances" "none" {
  instance_name = "no-such-instance"
}

output "key" {
  value = alicloud_kms_key.key.id
}

output "found" {
  value = [
    data.alicloud_kms_keys.by_description.ids[0],
    data.alicloud_kms_keys.by_id.ids[0],
    data.alicloud_kms_aliases.by_name.aliases[0].key_id,
  ]
}

output "versions" {
  value = length(data.alicloud_kms_key_versions.of_the_key.versions)
}

output "instances" {
  value = [
    length(data.alicloud_kms_instances.all.instances),
    length(data.alicloud_kms_instances.none.instances),
  ]
}
