resource "alicloud_kms_network_rule" "office" {
  network_rule_name = "office"
  description       = var.changed ? "changed" : "first"
  source_private_ip = var.changed ? ["10.1.0.0/16"] : ["10.10.10.10/24", "192.168.17.13"]
}

resource "alicloud_kms_policy" "use" {
  policy_name     = "use"
  description     = var.changed ? "changed" : "first"
  kms_instance_id = "shared"
  permissions = var.changed ? ["RbacPermission/Template/CryptoServiceKeyUser"] : [
    "RbacPermission/Template/CryptoServiceKeyUser",
    "RbacPermission/Template/CryptoServiceSecretUser",
  ]
  resources            = var.changed ? ["key/*"] : ["secret/*", "key/*"]
  access_control_rules = jsonencode({ NetworkRules = [alicloud_kms_network_rule.office.network_rule_name] })
}

resource "alicloud_kms_policy" "other" {
  policy_name          = "other"
  kms_instance_id      = "shared"
  permissions          = ["RbacPermission/Template/CryptoServiceKeyUser"]
  resources            = ["key/*"]
  access_control_rules = jsonencode({ NetworkRules = [] })
}

resource "alicloud_kms_application_access_point" "app" {
  application_access_point_name = "app"
  description                   = var.changed ? "changed" : "first"
  policies = var.changed ? [alicloud_kms_policy.other.id] : [
    alicloud_kms_policy.use.id, alicloud_kms_policy.other.id,
  ]
}

resource "alicloud_kms_client_key" "app" {
  aap_name              = alicloud_kms_application_access_point.app.id
  password              = "One-Password-1!"
  not_before            = "2024-09-01T14:11:22Z"
  not_after             = "2034-09-01T14:11:22Z"
  private_key_data_file = "${path.module}/client_key.json"
}
