// Package cases holds what every SDK of the public API is put through. A case compares bytes or an error
// code, never only that a call returned.
package cases

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
)

// A Variant is a client of an SDK and the gateway that it was made for.
type Variant struct {
	*api.Client
	// Name goes in front of the steps: the way in which the client calls.
	Name    string
	Gateway steps.Gateway
	// Connect makes another client that calls in the same way.
	Connect func(gateway steps.Gateway) *api.Client
	// XML tells that answers are in XML.
	XML bool
	// Misdeclared has the operations whose answers the classes of the SDK cannot decode, with the reason.
	Misdeclared map[string]string
	// WrongSecret is the code of SignatureDoesNotMatch as the SDK shows it.
	WrongSecret string
}

// A group is cases of one family; All runs them all.
type group func(v *Variant)

var groups = []group{
	encryption, dataKeys, pairs, macs, imports, tags, versions, lifecycle, aliases, keyLists, keyPolicies,
	accessPoints, account, dryRun, credentials, secretValues, secrets,
	refusals,
}

// All runs every case for whose operations and parameters the SDK has classes.
func All(v *Variant) {
	for _, group := range groups {
		group(v)
	}
}

// Wire runs the cases that show how requests are signed and carried.
func Wire(v *Variant) {
	encryption(v)
	tags(v)
	credentials(v)
	secretValues(v)
	refusals(v)
}

// step runs a case, if the SDK knows all that it needs.
func (v *Variant) step(name string, needs []string, step func(t *steps.T)) {
	for _, what := range needs {
		if !v.Knows(what) || v.Misdeclared[what] != "" {
			return
		}
	}
	steps.Step(v.Name+"-"+name, step)
}

func needs(what ...string) []string { return what }

// newKey makes a key of the default spec, or as the parameters say, and gives its id.
func (v *Variant) newKey(t *steps.T, parameters api.P) string {
	return v.Must(t, "CreateKey", parameters).Text("KeyMetadata", "KeyId")
}

// newExternalKey makes a key that waits for its material.
func (v *Variant) newExternalKey(t *steps.T) string {
	return v.newKey(t, api.P{"Origin": "EXTERNAL"})
}

func (v *Variant) metadata(t *steps.T, key string) api.Answer {
	return v.Must(t, "DescribeKey", api.P{"KeyId": key}).In("KeyMetadata")
}

func (v *Variant) arn(resource string) string {
	return "acs:kms:" + v.Gateway.Region + ":" + v.Gateway.Account + ":" + resource
}

// encrypt seals bytes and gives the whole answer.
func (v *Variant) encrypt(t *steps.T, key string, plaintext []byte, context map[string]string) api.Answer {
	parameters := api.P{"KeyId": key, "Plaintext": encode(plaintext)}
	if context != nil {
		parameters["EncryptionContext"] = context
	}
	return v.Must(t, "Encrypt", parameters)
}

// decrypt opens a blob and gives the bytes.
func (v *Variant) decrypt(t *steps.T, blob string, context map[string]string) []byte {
	parameters := api.P{"CiphertextBlob": blob}
	if context != nil {
		parameters["EncryptionContext"] = context
	}
	return decode(v.Must(t, "Decrypt", parameters).Text("Plaintext"))
}

// opensTo wants a blob to open to these bytes.
func (v *Variant) opensTo(t *steps.T, blob string, context map[string]string, want []byte) {
	t.Bytes(v.decrypt(t, blob, context), want)
}

// refusedByName wants a refusal whose message names a parameter.
func (v *Variant) refusedByName(t *steps.T, name, action string, parameters api.P) {
	refusal := v.Refused(t, 400, "InvalidParameter", action, parameters)
	t.True(strings.Contains(refusal.Message, name), "%s is not named: %s", name, refusal.Message)
}

func encode(bytes []byte) string { return base64.StdEncoding.EncodeToString(bytes) }

func decode(text string) []byte { return steps.Must(base64.StdEncoding.DecodeString(text)) }

func random(size int) []byte {
	bytes := make([]byte, size)
	rand.Read(bytes)
	return bytes
}

// unique is a name that no other case uses.
func unique(prefix string) string { return fmt.Sprintf("%s-%x", prefix, random(6)) }
