resource "alicloud_kms_secret" "of" {
  for_each                      = toset(["one", "two"])
  secret_name                   = "data/${each.key}"
  secret_data                   = "data of ${each.key}"
  version_id                    = "v1"
  force_delete_without_recovery = true
  tags                          = { name = each.key }
}

data "alicloud_kms_secrets" "by_name" {
  name_regex     = "^data/"
  enable_details = true
  depends_on     = [alicloud_kms_secret.of]
}

data "alicloud_kms_secrets" "by_tag" {
  fetch_tags = true
  tags       = { name = "two" }
  depends_on = [alicloud_kms_secret.of]
}

data "alicloud_kms_secrets" "by_filter" {
  filters    = jsonencode([{ Key = "SecretName", Values = ["data/one"] }])
  depends_on = [alicloud_kms_secret.of]
}

data "alicloud_kms_secret_versions" "of_others" {
  secret_name    = "of-others"
  enable_details = true
}

output "values" {
  value     = { for secret in data.alicloud_kms_secrets.by_name.secrets : secret.secret_name => secret.secret_data }
  sensitive = true
}

output "by_tag" {
  value = data.alicloud_kms_secrets.by_tag.ids
}

output "by_filter" {
  value = data.alicloud_kms_secrets.by_filter.ids
}

output "versions" {
  value     = { for version in data.alicloud_kms_secret_versions.of_others.versions : version.version_id => version.secret_data }
  sensitive = true
}
