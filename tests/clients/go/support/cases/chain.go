package cases

import (
	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
)

// A ClientKey is a client key that was made through the public API.
type ClientKey struct{ ID, Content, Password string }

// NewClientKey makes an access point over all keys, or over those named, and a client key of it.
func (v *Variant) NewClientKey(t *steps.T, keys ...string) ClientKey {
	resources := []string{"key/*"}
	if len(keys) > 0 {
		resources = nil
		for _, key := range keys {
			resources = append(resources, "key/"+key)
		}
	}
	return v.newClientKey(t, userTemplate, resources)
}

// NewSecretReader makes an access point over secrets, and a client key of it.
func (v *Variant) NewSecretReader(t *steps.T, resources ...string) ClientKey {
	return v.newClientKey(t, `["RbacPermission/Template/CryptoServiceSecretUser"]`, resources)
}

func (v *Variant) newClientKey(t *steps.T, template string, resources []string) ClientKey {
	name := unique("go")
	v.Must(t, "CreatePolicy",
		api.P{"Name": name, "Permissions": template, "Resources": mustJSON(resources)})
	v.Must(t, "CreateApplicationAccessPoint", api.P{"Name": name, "Policies": mustJSON([]string{name})})
	password := "Opens-it_1"
	made := v.Must(t, "CreateClientKey", api.P{"AapName": name, "Password": password})
	id := made.Text("ClientKeyId")
	content := mustJSON(map[string]string{"KeyId": id, "PrivateKeyData": made.Text("PrivateKeyData")})
	return ClientKey{id, content, password}
}

// NewKey makes a key of the default spec, or as the parameters say, and gives its id.
func (v *Variant) NewKey(t *steps.T, parameters api.P) string { return v.newKey(t, parameters) }

// NewPair makes a key pair, and gives the parameters that name it and its version.
func (v *Variant) NewPair(t *steps.T, spec, usage string) api.P { return v.newPair(t, spec, usage) }

// Encode is Base64.
func Encode(bytes []byte) string { return encode(bytes) }

// Decode reads Base64.
func Decode(text string) []byte { return decode(text) }

// Random gives random bytes.
func Random(size int) []byte { return random(size) }

// Unique is a name that no other case uses.
func Unique(prefix string) string { return unique(prefix) }

// With joins parameters.
func With(one, other api.P) api.P { return with(one, other) }
