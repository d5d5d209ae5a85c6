// The older generation of official Go SDKs for the public API, which Terraform's backends, Vault's seal
// and OSS use: in JSON and XML, by POST and GET.
package main

import (
	"maps"

	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
)

func main() {
	maps.Copy(absent, cases.Managed)
	json, xml := api.NewSeen(), api.NewSeen()
	plain, tls := steps.Plain(), steps.TLS()
	post := older.Variant("http-post-json", plain, older.Way{Method: "POST", Format: "JSON"}, json)
	cases.All(post)
	cases.Wire(older.Variant("https-get-json", tls, older.Way{Method: "GET", Format: "JSON"}, json))
	inXML := older.Variant("https-post-xml", tls, older.Way{Method: "POST", Format: "XML"}, xml)
	cases.All(inXML)
	cases.Text(older.Variant("https-text", steps.Text(), older.Way{Method: "POST", Format: "JSON"}, json))
	cases.Throttled(older.Variant("http-throttled", steps.Throttled(), older.Way{Method: "POST", Format: "JSON"}, json))
	cases.Complete(post, absent)
	// An element of a list that is empty makes no element in XML: the list is as absent.
	inXMLToo := maps.Clone(absent)
	inXMLToo["GetKmsInstance.KmsInstance.BindVpcs"] = "the instance is in no network of the cloud"
	cases.Complete(inXML, inXMLToo)
	steps.End()
}

// absent names the fields that no answer of a gateway sets, and why. The SDK has one class for several
// answers, and takes an empty text and a zero for unset.
var absent = map[string]string{
	"DescribeSecret.Tags.Tag.KeyId":                                   "of keys alone",
	"ListSecrets.SecretList.Secret.Tags.Tag.KeyId":                    "of keys alone",
	"CreateKey.KeyMetadata.DeleteDate":                                "a new key is not on its way to deletion",
	"CreateKey.KeyMetadata.MaterialExpireTime":                        "a new key has no material from outside",
	"CreateKey.KeyMetadata.DeletionProtection":                        "of DescribeKey alone",
	"CreateKey.KeyMetadata.DeletionProtectionDescription":             "of DescribeKey alone",
	"GetKmsInstance.KmsInstance.BindVpcs.BindVpc":                     "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.VpcId":                                "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.VpcNum":                               "0: the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.VswitchIds":                           "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.ZoneIds":                              "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.Spec":                                 "the instance is not for sale: it has no size",
	"GetKmsInstance.KmsInstance.EndDate":                              "the instance is not for sale: it has no end",
	"GetKmsInstance.KmsInstance.CaCertificateChainPem":                "the operator has the CA as a file",
	"GetKmsInstance.KmsInstance.KmsInstanceId":                        "of ListKmsInstances alone",
	"GetKmsInstance.KmsInstance.KmsInstanceArn":                       "of ListKmsInstances alone",
	"ListKmsInstances.KmsInstances.KmsInstance.BindVpcs":              "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.CaCertificateChainPem": "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.CreateTime":            "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.EndDate":               "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.InstanceId":            "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.InstanceName":          "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.KeyNum":                "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.SecretNum":             "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.Spec":                  "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.StartDate":             "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.Status":                "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.VpcId":                 "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.VpcNum":                "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.VswitchIds":            "of GetKmsInstance alone",
	"ListKmsInstances.KmsInstances.KmsInstance.ZoneIds":               "of GetKmsInstance alone",
}
