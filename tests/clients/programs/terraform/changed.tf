# What the second apply sets, to change what the first has made.
variable "changed" {
  type    = bool
  default = false
}
