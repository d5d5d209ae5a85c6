// The oldest generation of official Go SDKs that the module proxy serves, of February 2020: programs that
// were written with it still call and decode.
package main

import (
	"strings"

	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
)

func main() {
	seen := api.NewSeen()
	post := older.Variant("https-post-json", steps.TLS(), older.Way{Method: "POST", Format: "JSON"}, seen)
	post.Misdeclared = misdeclared
	cases.All(post)
	steps.Step("answers-of-secrets-with-lists-do-not-decode", func(t *steps.T) {
		secret := api.P{"SecretName": post.NewSecret(t, "first", nil)}
		_, err := post.Call("GetSecretValue", secret)
		t.True(err != nil && strings.Contains(err.Error(), "VersionStages: []string"), "%v", err)
		post.Must(t, "UpdateSecret", cases.With(secret, api.P{"Description": "changed"}))
		described := post.Must(t, "DescribeSecret", secret)
		t.Equal(described.Text("Description"), "changed")
		post.Must(t, "DeleteSecret", cases.With(secret, api.P{"RecoveryWindowInDays": "7"}))
		t.True(post.Must(t, "DescribeSecret", secret).Text("PlannedDeleteTime") != "", "no date")
		post.Must(t, "RestoreSecret", secret)
		post.Must(t, "UpdateSecretVersionStage",
			cases.With(secret, api.P{"VersionStage": "mine", "MoveToVersion": "v1"}))
	})
	cases.Complete(post, absent)
	steps.End()
}

// misdeclared names operations of secrets whose classes have a list where the API has an object with one.
var misdeclared = map[string]string{
	"GetSecretValue":       "VersionStages",
	"PutSecretValue":       "VersionStages",
	"ListSecrets":          "SecretList",
	"ListSecretVersionIds": "VersionIds",
}

// absent names the fields that no answer of a gateway sets, and why.
var absent = map[string]string{
	"CreateKey.KeyMetadata.DeleteDate":         "a new key is not on its way to deletion",
	"CreateKey.KeyMetadata.MaterialExpireTime": "a new key has no material from outside",
	"DescribeSecret.EncryptionKeyId":           "the secret has no key of the caller",
	"DescribeSecret.Tags":                      "a list where the API has an object with one",
}
