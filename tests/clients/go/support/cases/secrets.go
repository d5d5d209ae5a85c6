package cases

import (
	"encoding/json"
	"fmt"
	"strings"

	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
)

// A SecretValue is a text that is easily changed on the way.
type SecretValue struct {
	Text string
	// NotInXML tells that it has a character that XML 1.0 has no way to write.
	NotInXML bool
}

// SecretValues are the awkward ones, by the name of their step.
var SecretValues = map[string]SecretValue{
	"blanks-and-line-ends": {"  a\tb\rc\r\nd\n ", false},
	"nul":                  {"a\x00b", true},
	"control-characters":   {"\x01\x1f\x7f", true},
	"noncharacters":        {"\ufffe\uffff", true},
	"markup":               {"<a href=\"b\">&amp;]]></a>", false},
	"escapes":              {`\\n\u0041"%25+%20&=;~*`, false},
	"scripts":              {"ключ 密钥 \U0001F511 e\u0301\u2028\u2029\u200b\ufeff", false},
	"no-base64":            {"-_-_", false},
	"longest":              {strings.Repeat("x", 30720), false},
	"longest-of-quotes":    {strings.Repeat(`"`, 30720), false},
	"longest-of-two-bytes": {strings.Repeat("ж", 15360), false},
}

// Managed names the fields of managed secrets, whose passwords a service of the cloud changes.
var Managed = managed()

func managed() map[string]string {
	fields := map[string]string{}
	for _, action := range []string{"CreateSecret", "DescribeSecret", "GetSecretValue"} {
		for _, field := range []string{
			"AutomaticRotation", "RotationInterval", "NextRotationDate", "LastRotationDate", "ExtendedConfig",
		} {
			fields[action+"."+field] = "of managed secrets, which the gateway does not have"
		}
	}
	return fields
}

// NewSecret creates a secret with the version v1, and gives its name.
func (v *Variant) NewSecret(t *steps.T, value string, more api.P) string {
	given := with(api.P{"SecretName": unique("go/secret"), "VersionId": "v1", "SecretData": value}, more)
	made, name := v.Must(t, "CreateSecret", given), given["SecretName"].(string)
	t.Equal(made.Text("SecretName")+" "+made.Text("VersionId"), name+" v1")
	return name
}

func (v *Variant) put(t *steps.T, name, version, value string, more api.P) api.Answer {
	return v.Must(t, "PutSecretValue",
		with(api.P{"SecretName": name, "VersionId": version, "SecretData": value}, more))
}

func (v *Variant) secretValue(t *steps.T, name string, more api.P) string {
	return v.Must(t, "GetSecretValue", with(api.P{"SecretName": name}, more)).Text("SecretData")
}

// labels are the labels of each version.
func (v *Variant) labels(t *steps.T, name string, more api.P) map[string]string {
	listed := v.Must(t, "ListSecretVersionIds", with(api.P{"SecretName": name, "PageSize": 100}, more))
	t.Equal(listed.Text("SecretName"), name)
	versions := map[string]string{}
	for _, version := range listed.List("VersionIds", "VersionId") {
		t.True(date(t, version.Text("CreateTime")).Year() > 2000, "no date")
		var labels []string
		for _, label := range version.List("VersionStages", "VersionStage") {
			labels = append(labels, label.Text())
		}
		versions[version.Text("VersionId")] = strings.Join(labels, " ")
	}
	return versions
}

// secretValues holds every value to come back byte for byte, or to be refused.
func secretValues(v *Variant) {
	v.step("every-value-of-a-secret-comes-back-or-is-refused", needs("CreateSecret", "GetSecretValue"), func(t *steps.T) {
		for name, value := range SecretValues {
			secret := v.NewSecret(t, value.Text, nil)
			if v.XML && value.NotInXML {
				v.refusedByName(t, "XML", "GetSecretValue", api.P{"SecretName": secret})
				continue
			}
			t.True(v.secretValue(t, secret, nil) == value.Text, "%s is another value", name)
			// The equal value is found equal.
			v.put(t, secret, "v1", value.Text, nil)
		}
		secret := v.NewSecret(t, "x", nil)
		v.refusedByName(t, "SecretData", "PutSecretValue",
			api.P{"SecretName": secret, "VersionId": "v2", "SecretData": strings.Repeat("x", 30721)})
	})
}

func secrets(v *Variant) {
	all := needs("CreateSecret", "GetSecretValue")
	v.step("a-secret-is-described-and-listed-as-it-was-created", all, func(t *steps.T) {
		more := api.P{
			"SecretDataType": "binary", "EncryptionKeyId": v.Gateway.KeyID, "Description": "说明",
			"Tags": `[{"TagKey":"team","TagValue":"orders订单/1"}]`,
		}
		if v.Knows("CreateSecret.DKMSInstanceId") && v.Knows("ListKmsInstances") {
			more["DKMSInstanceId"] = v.Must(t, "ListKmsInstances", nil).List("KmsInstances", "KmsInstance")[0].Text("KmsInstanceId")
		}
		name := v.NewSecret(t, "-_", more)
		described := v.Must(t, "DescribeSecret", api.P{"SecretName": name, "FetchTags": "true"})
		t.Equal(described.Text("Arn")+" "+described.Text("Description"), v.arn("secret/"+name)+" 说明")
		t.Equal(described.Text("EncryptionKeyId"), v.Gateway.KeyID)
		t.Equal(described.List("Tags", "Tag")[0].Text("TagValue"), "orders订单/1")
		if v.Knows("CreateSecret.DKMSInstanceId") && v.Knows("ListKmsInstances") {
			t.Equal(described.Text("DKMSInstanceId"), more["DKMSInstanceId"])
		}
		read := v.Must(t, "GetSecretValue", api.P{"SecretName": name})
		t.Equal(read.Text("SecretData")+" "+read.Text("SecretDataType"), "-_ binary")
		t.Equal(read.List("VersionStages", "VersionStage")[0].Text(), "ACSCurrent")
		v.Must(t, "UpdateSecret", api.P{"SecretName": name, "Description": "changed"})
		t.Equal(v.Must(t, "DescribeSecret", api.P{"SecretName": name}).Text("Description"), "changed")
		listed := 0
		for _, row := range v.pages(t, "ListSecrets", api.P{"FetchTags": "true"}, 50, "SecretList", "Secret") {
			if row.Text("SecretName") == name {
				listed++
				t.Equal(row.List("Tags", "Tag")[0].Text("TagKey"), "team")
			}
		}
		t.Equal(listed, 1)
	})
	v.step("a-label-moves-and-a-former-version-is-current-again", all, func(t *steps.T) {
		name := v.NewSecret(t, "first", nil)
		stages := v.put(t, name, "v2", "second", api.P{"VersionStages": `["ACSCurrent","mine"]`})
		t.Equal(len(stages.List("VersionStages", "VersionStage")), 2)
		t.Equal(v.labels(t, name, nil), map[string]string{"v2": "ACSCurrent mine", "v1": "ACSPrevious"})
		t.Equal(v.secretValue(t, name, api.P{"VersionStage": "ACSPrevious"}), "first")
		v.Must(t, "UpdateSecretVersionStage",
			api.P{"SecretName": name, "VersionStage": "ACSCurrent", "MoveToVersion": "v1", "RemoveFromVersion": "v2"})
		t.Equal(v.secretValue(t, name, nil), "first")
		t.Equal(v.secretValue(t, name, api.P{"VersionId": "v2"}), "second")
		v.put(t, name, "v2", "second", nil)
		v.Refused(t, 409, "Rejected.ResourceExist", "PutSecretValue",
			api.P{"SecretName": name, "VersionId": "v2", "SecretData": "other"})
		t.Equal(v.secretValue(t, name, nil), "first")
	})
	// They name secrets by ARN too, pin a version or a label, and decode binary values themselves.
	v.step("a-secret-is-read-as-the-kubernetes-providers-do", all, func(t *steps.T) {
		name := v.NewSecret(t, encode([]byte("\x00\xff")), api.P{"SecretDataType": "binary"})
		v.put(t, name, "v2", `{"user":"a","password":"b"}`, api.P{"VersionStages": `["ACSCurrent","mine"]`})
		for _, secret := range []string{name, v.arn("secret/" + name)} {
			pinned := v.Must(t, "GetSecretValue", api.P{"SecretName": secret, "VersionId": "v1"})
			t.Equal(pinned.Text("SecretName")+" "+pinned.Text("SecretDataType"), name+" binary")
			t.Bytes(decode(pinned.Text("SecretData")), []byte("\x00\xff"))
			var login struct{ Password string }
			t.OK(json.Unmarshal([]byte(v.secretValue(t, secret, api.P{"VersionStage": "mine"})), &login))
			t.Equal(login.Password, "b")
		}
	})
	v.step("the-eleventh-version-drops-the-oldest-without-a-label", all, func(t *steps.T) {
		name := v.NewSecret(t, "value 1", nil)
		want := map[string]string{"v11": "ACSCurrent", "v10": "ACSPrevious", "v9": "", "v8": ""}
		for number := 2; number <= 11; number++ {
			more := api.P{}
			if number < 8 {
				label := fmt.Sprintf("keep-%d", number)
				more["VersionStages"] = mustJSON([]string{label})
				want[fmt.Sprintf("v%d", number)] = label
			}
			v.put(t, name, fmt.Sprintf("v%d", number), fmt.Sprintf("value %d", number), more)
		}
		t.Equal(v.labels(t, name, api.P{"IncludeDeprecated": "true"}), want)
		v.Refused(t, 404, "Forbidden.ResourceNotFound", "GetSecretValue", api.P{"SecretName": name, "VersionId": "v1"})
		v.Refused(t, 400, "Rejected.LimitExceeded", "PutSecretValue",
			api.P{"SecretName": name, "VersionId": "v12", "SecretData": "x", "VersionStages": `["ninth"]`})
		t.Equal(v.secretValue(t, name, api.P{"VersionStage": "keep-2"}), "value 2")
	})
	v.step("a-deleted-secret-is-restored-or-gone", all, func(t *steps.T) {
		named := api.P{"SecretName": v.NewSecret(t, "first", nil)}
		v.Must(t, "DeleteSecret", with(named, api.P{"RecoveryWindowInDays": "7"}))
		until := v.Must(t, "DescribeSecret", named).Text("PlannedDeleteTime")
		for _, row := range v.pages(t, "ListSecrets", nil, 50, "SecretList", "Secret") {
			if row.Text("SecretName") == named["SecretName"] {
				t.Equal(row.Text("PlannedDeleteTime"), until)
			}
		}
		v.Refused(t, 409, "Rejected.ResourceInDeleteWindow", "GetSecretValue", named)
		v.Must(t, "RestoreSecret", named)
		t.Equal(v.secretValue(t, named["SecretName"].(string), nil), "first")
		// Terraform sends both.
		v.Must(t, "DeleteSecret",
			with(named, api.P{"ForceDeleteWithoutRecovery": "true", "RecoveryWindowInDays": "30"}))
		v.Refused(t, 404, "Forbidden.ResourceNotFound", "DescribeSecret", named)
		v.Must(t, "CreateSecret", with(named, api.P{"VersionId": "v1", "SecretData": "anew"}))
		t.Equal(v.secretValue(t, named["SecretName"].(string), nil), "anew")
	})
	v.step("a-policy-of-a-secret-comes-back-letter-for-letter", needs("SetSecretPolicy"), func(t *steps.T) {
		named := api.P{"SecretName": v.NewSecret(t, "x", nil)}
		policy := v.Must(t, "GetSecretPolicy", named).Text("Policy")
		var read struct{ Statement []struct{ Sid string } }
		t.OK(json.Unmarshal([]byte(policy), &read))
		t.Equal(read.Statement[0].Sid, "kms default secret policy")
		own := strings.Replace(policy, "kms default", "own  ", 1)
		v.Must(t, "SetSecretPolicy", with(named, api.P{"PolicyName": "default", "Policy": own}))
		t.Equal(v.Must(t, "GetSecretPolicy", named).Text("Policy"), own)
	})
	v.step("a-generic-secret-is-not-rotated", needs("UpdateSecretRotationPolicy"), func(t *steps.T) {
		named := api.P{"SecretName": v.NewSecret(t, "x", nil)}
		v.Must(t, "UpdateSecretRotationPolicy", with(named, api.P{"EnableAutomaticRotation": false}))
		v.Refused(t, 400, "Rejected.UnsupportedOperation", "UpdateSecretRotationPolicy",
			with(named, api.P{"EnableAutomaticRotation": true}))
		v.Refused(t, 400, "Rejected.UnsupportedOperation", "RotateSecret", with(named, api.P{"VersionId": "v2"}))
	})
	v.step("a-random-password-has-what-was-asked-for", needs("GetRandomPassword"), func(t *steps.T) {
		t.Equal(len(v.Must(t, "GetRandomPassword", nil).Text("RandomPassword")), 32)
		digits := v.Must(t, "GetRandomPassword", api.P{
			"PasswordLength": "128", "ExcludeLowercase": "true", "ExcludeUppercase": "true",
			"ExcludePunctuation": "true", "ExcludeCharacters": "01234567",
		}).Text("RandomPassword")
		t.Equal(strings.Trim(digits, "89")+fmt.Sprint(len(digits)), "128")
	})
}
