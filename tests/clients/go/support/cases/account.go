package cases

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"time"

	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
)

const userTemplate = `["RbacPermission/Template/CryptoServiceKeyUser"]`

// chain makes a network rule, a policy and an access point of one name.
func (v *Variant) chain(t *steps.T) string {
	name := unique("go")
	rule := v.Must(t, "CreateNetworkRule", api.P{
		"Name": name, "Type": "Private", "SourcePrivateIp": `["127.0.0.1","10.0.0.0/8"]`, "Description": "rule 规则",
	})
	t.Equal(rule.Text("Arn"), v.arn("network/"+name))
	t.Equal(rule.Text("Name")+" "+rule.Text("Type")+" "+rule.Text("Description"), name+" Private rule 规则")
	t.Equal(rule.Text("SourcePrivateIp"), `["127.0.0.1","10.0.0.0/8"]`)
	rules := mustJSON(map[string][]string{"NetworkRules": {name}})
	instance := v.Must(t, "ListKmsInstances", nil).List("KmsInstances", "KmsInstance")[0].Text("KmsInstanceId")
	policy := v.Must(t, "CreatePolicy", api.P{
		"Name": name, "Permissions": userTemplate, "Resources": `["key/*"]`, "AccessControlRules": rules,
		"Description": "policy", "KmsInstance": instance,
	})
	t.Equal(policy.Text("Arn"), v.arn("policy/"+name))
	t.Equal(policy.Text("Permissions")+policy.Text("Resources"), userTemplate+`["key/*"]`)
	t.Equal(policy.Text("AccessControlRules")+policy.Text("KmsInstance"), rules+instance)
	point := v.Must(t, "CreateApplicationAccessPoint", api.P{
		"Name": name, "Policies": mustJSON([]string{name}), "Description": "point",
		"AuthenticationMethod": "ClientKey",
	})
	t.Equal(point.Text("Arn"), v.arn("applicationaccesspoint/"+name))
	t.Equal(point.Text("Policies")+point.Text("AuthenticationMethod"), mustJSON([]string{name})+"ClientKey")
	return name
}

func accessPoints(v *Variant) {
	all := needs("CreateNetworkRule", "CreatePolicy", "CreateApplicationAccessPoint", "CreateClientKey")
	v.step("an-access-chain-is-described-changed-and-listed", all, func(t *steps.T) {
		name := v.chain(t)
		named := api.P{"Name": name}
		v.Must(t, "UpdateNetworkRule", with(named, api.P{"SourcePrivateIp": `["127.0.0.2"]`, "Description": "r2"}))
		rule := v.Must(t, "DescribeNetworkRule", named)
		t.Equal(rule.Text("SourcePrivateIp")+" "+rule.Text("Description"), `["127.0.0.2"] r2`)
		t.Equal(rule.Text("Arn"), v.arn("network/"+name))
		v.Must(t, "UpdatePolicy", with(named, api.P{
			"Permissions": userTemplate, "Resources": `["key/*","key/` + v.Gateway.KeyID + `"]`, "Description": "p2",
		}))
		policy := v.Must(t, "DescribePolicy", named)
		t.Equal(policy.Text("Description"), "p2")
		t.Equal(policy.Text("Arn"), v.arn("policy/"+name))
		t.Equal(len(policy.List("Permissions")), 1)
		t.Equal(len(policy.List("Resources")), 2)
		var rules struct{ NetworkRules []string }
		t.OK(json.Unmarshal([]byte(policy.Text("AccessControlRules")), &rules))
		t.Equal(rules.NetworkRules, []string{name})
		v.Must(t, "UpdateApplicationAccessPoint",
			with(named, api.P{"Policies": mustJSON([]string{name}), "Description": "a2"}))
		point := v.Must(t, "DescribeApplicationAccessPoint", named)
		t.Equal(point.Text("Description")+" "+point.Text("AuthenticationMethod"), "a2 ClientKey")
		t.Equal(point.Text("Policies"), mustJSON([]string{name}))
		for action, path := range map[string][]string{
			"ListNetworkRules":            {"NetworkRules", "NetworkRule"},
			"ListPolicies":                {"Policies", "Policy"},
			"ListApplicationAccessPoints": {"ApplicationAccessPoints", "ApplicationAccessPoint"},
		} {
			found := 0
			for _, row := range v.pages(t, action, nil, 2, path...) {
				if row.Text("Name") == name {
					found++
				}
			}
			t.Equal(found, 1)
		}
	})
	v.step("a-deleted-access-chain-is-gone", all, func(t *steps.T) {
		name := v.chain(t)
		for _, what := range []string{"ApplicationAccessPoint", "Policy", "NetworkRule"} {
			v.Must(t, "Delete"+what, api.P{"Name": name})
			v.Refused(t, 404, "Forbidden.ResourceNotFound", "Describe"+what, api.P{"Name": name})
		}
		name = v.chain(t)
		v.Refused(t, 409, "Rejected.ResourceExist", "CreateApplicationAccessPoint",
			api.P{"Name": name, "Policies": mustJSON([]string{name})})
	})
	v.step("a-client-key-is-made-shown-and-deleted", all, func(t *steps.T) {
		name := v.chain(t)
		from := time.Now().UTC().Truncate(time.Second)
		until := from.Add(48 * time.Hour)
		format := "2006-01-02T15:04:05Z"
		made := v.Must(t, "CreateClientKey", api.P{
			"AapName": name, "Password": "opens-it-1", "NotBefore": from.Format(format), "NotAfter": until.Format(format),
		})
		id := made.Text("ClientKeyId")
		t.Equal(made.Text("NotAfter")+" "+made.Text("KeyAlgorithm"), until.Format(format)+" RSA_2048")
		steps.Must(base64.StdEncoding.DecodeString(made.Text("PrivateKeyData")))
		kept := v.Must(t, "GetClientKey", api.P{"ClientKeyId": id})
		t.Equal(kept.Text("AapName")+" "+kept.Text("KeyOrigin"), name+" KMS_PROVIDED")
		block, _ := pem.Decode([]byte(kept.Text("PublicKeyData")))
		t.True(block != nil, "no certificate")
		certificate := steps.Must(x509.ParseCertificate(block.Bytes))
		t.Equal(certificate.PublicKey.(*rsa.PublicKey).N.BitLen(), 2048)
		t.True(certificate.NotAfter.Equal(until), "the certificate ends at %v", certificate.NotAfter)
		listed := v.Must(t, "ListClientKeys", api.P{"AapName": name}).List("ClientKeys")
		t.Equal(len(listed), 1)
		for _, field := range []string{
			"ClientKeyId", "AapName", "CreateTime", "KeyAlgorithm", "KeyOrigin", "NotBefore", "NotAfter", "PublicKeyData",
		} {
			t.Equal(listed[0].Text(field), kept.Text(field))
		}
		v.refusedByName(t, "Password", "CreateClientKey", api.P{"AapName": name, "Password": "short"})
		v.Must(t, "DeleteClientKey", api.P{"ClientKeyId": id})
		v.Refused(t, 404, "Forbidden.ResourceNotFound", "GetClientKey", api.P{"ClientKeyId": id})
	})
}

func account(v *Variant) {
	v.step("the-region-and-the-account-are-told", nil, func(t *steps.T) {
		regions := v.Must(t, "DescribeRegions", nil).List("Regions", "Region")
		t.Equal(len(regions), 1)
		t.Equal(regions[0].Text("RegionId"), v.Gateway.Region)
		if v.Knows("DescribeAccountKmsStatus") {
			t.Equal(v.Must(t, "DescribeAccountKmsStatus", nil).Text("AccountStatus"), "Enabled")
		}
	})
	v.step("the-one-instance-is-listed-and-described", needs("ListKmsInstances", "GetKmsInstance"), func(t *steps.T) {
		listed := v.pages(t, "ListKmsInstances", nil, 10, "KmsInstances", "KmsInstance")
		t.Equal(len(listed), 1)
		id := listed[0].Text("KmsInstanceId")
		t.Equal(listed[0].Text("KmsInstanceArn"), v.arn("keystore/"+id))
		described := v.Must(t, "GetKmsInstance", api.P{"KmsInstanceId": id}).In("KmsInstance")
		t.Equal(described.Text("InstanceId")+" "+described.Text("Status"), id+" Connected")
		key := v.newKey(t, api.P{"DKMSInstanceId": id})
		t.Equal(v.metadata(t, key).Text("DKMSInstanceId"), id)
	})
}

func credentials(v *Variant) {
	if v.Gateway.CAFile == "" {
		return
	}
	v.step("temporary-credentials-call-within-their-policy", nil, func(t *steps.T) {
		statement := `{"Version":"1","Statement":[{"Effect":"Allow","Action":["kms:Encrypt","kms:Decrypt"],"Resource":"*"}]}`
		gateway := steps.Must(v.Gateway.AssumeRoleRequest(statement))
		temporary := *v
		temporary.Client = v.Connect(gateway)
		temporary.AwaitAccessKey(t)
		blob := temporary.encrypt(t, v.Gateway.Alias, []byte("for an hour"), context).Text("CiphertextBlob")
		temporary.opensTo(t, blob, context, []byte("for an hour"))
		v.opensTo(t, blob, context, []byte("for an hour"))
		temporary.Refused(t, 403, "Forbidden.NoPermission", "DescribeKey", api.P{"KeyId": v.Gateway.KeyID})
		temporary.Refused(t, 403, "Forbidden.NoPermission", "CreateKey", nil)
		without := gateway
		without.SecurityToken = ""
		v.Connect(without).Refused(t, 400, "MissingSecurityToken", "DescribeRegions", nil)
		other := gateway
		v.Connect(gateway).Refused(t, 403, "Forbidden.NoPermission", "ListKeys", nil)
		other.SecurityToken = steps.Must(v.Gateway.AssumeRoleRequest(statement)).SecurityToken
		v.Connect(other).Refused(t, 400, "InvalidSecurityToken.MismatchWithAccessKey", "DescribeRegions", nil)
	})
}

// AwaitAccessKey waits until the gateway knows an AccessKey that was made beside it: within seconds.
func (v *Variant) AwaitAccessKey(t *steps.T) {
	limit := time.Now().Add(30 * time.Second)
	for {
		_, err := v.Call("DescribeRegions", nil)
		refusal, _ := err.(*api.Refusal)
		if refusal == nil || refusal.Code != "InvalidAccessKeyId.NotFound" {
			return
		}
		t.True(time.Now().Before(limit), "the gateway does not come to know the AccessKey: %v", err)
		time.Sleep(20 * time.Millisecond)
	}
}

func refusals(v *Variant) {
	v.step("a-key-or-an-alias-that-is-not-there-is-404", nil, func(t *steps.T) {
		plaintext := encode([]byte("x"))
		for _, id := range []string{notThere(v.Gateway.KeyID), "key-does-not-exist", "01234567-89ab-4def-8123-456789abcdef"} {
			v.Refused(t, 404, "Forbidden.KeyNotFound", "Encrypt", api.P{"KeyId": id, "Plaintext": plaintext})
			v.Refused(t, 404, "Forbidden.KeyNotFound", "DescribeKey", api.P{"KeyId": id})
		}
		v.Refused(t, 404, "Forbidden.AliasNotFound", "Encrypt",
			api.P{"KeyId": "alias/" + unique("none"), "Plaintext": plaintext})
	})
	v.step("a-missing-parameter-is-named", nil, func(t *steps.T) {
		refusal := v.Refused(t, 400, "MissingParameter", "Encrypt", api.P{"KeyId": v.Gateway.KeyID})
		t.Equal(refusal.Message != "" && contains(refusal.Message, "Plaintext"), true)
	})
	v.step("a-plaintext-that-is-no-base64-is-refused-with-its-remedy", nil, func(t *steps.T) {
		refusal := v.Refused(t, 400, "InvalidParameter", "Encrypt",
			api.P{"KeyId": v.Gateway.KeyID, "Plaintext": "YourPassword1234!"})
		t.True(contains(refusal.Message, "Plaintext") && contains(refusal.Message, "accept_non_base64_plaintext"),
			"the message names no setting: %s", refusal.Message)
		t.True(!contains(refusal.Message, "YourPassword"), "the message holds the plaintext")
	})
	v.step("a-wrong-secret-and-an-unknown-access-key-are-refused", nil, func(t *steps.T) {
		wrong, unknown := v.Gateway, v.Gateway
		wrong.AccessKeySecret = "not the secret"
		unknown.AccessKeyID = "LTAInobody"
		v.Connect(wrong).Refused(t, 400, v.WrongSecret, "DescribeRegions", nil)
		v.Connect(unknown).Refused(t, 404, "InvalidAccessKeyId.NotFound", "DescribeRegions", nil)
	})
}

func contains(text, part string) bool { return strings.Contains(text, part) }
