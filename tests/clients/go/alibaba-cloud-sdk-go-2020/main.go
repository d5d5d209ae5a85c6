// The oldest generation of official Go SDKs that the module proxy serves, of February 2020: programs that
// were written with it still call and decode.
package main

import (
	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
)

func main() {
	seen := api.NewSeen()
	post := older.Variant("https-post-json", steps.TLS(), older.Way{Method: "POST", Format: "JSON"}, seen)
	cases.All(post)
	cases.Complete(post, absent)
	steps.End()
}

// absent names the fields that no answer of a gateway sets, and why.
var absent = map[string]string{
	"CreateKey.KeyMetadata.DeleteDate":         "a new key is not on its way to deletion",
	"CreateKey.KeyMetadata.MaterialExpireTime": "a new key has no material from outside",
}
