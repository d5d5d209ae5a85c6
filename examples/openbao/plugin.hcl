plugin_directory = "/opt/openbao/plugins"

plugin "kms" "alicloudkms" {
  command   = "openbao-plugin-kms-alicloudkms"
  sha256sum = "digest-example"
}
