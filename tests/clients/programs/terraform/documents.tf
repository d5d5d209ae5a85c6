# Access documents that name what is not there, in any form that the service keeps.
resource "alicloud_kms_policy" "text" {
  policy_name     = "text"
  kms_instance_id = "shared"
  permissions = var.changed ? [] : [
    "RbacPermission/Template/CryptoServiceKeyUser",
    "RbacPermission/Template/CryptoServiceKeyUser",
  ]
  resources            = var.changed ? ["key/a*", "secret/*"] : ["secret/*", "key/*", "key/a*"]
  access_control_rules = <<EOF
  {
      "NetworkRules":[
          "not-there"
      ]
  }
  EOF
}

resource "alicloud_kms_application_access_point" "ahead" {
  application_access_point_name = "ahead"
  policies                      = var.changed ? ["efg", "abc"] : ["abc", "efg", "hfc"]
}
