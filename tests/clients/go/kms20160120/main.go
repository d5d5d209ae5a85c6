// The newest generation of official Go SDKs for the public API, by all of its signature schemes.
package main

import (
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"strings"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	util "github.com/alibabacloud-go/tea-utils/v2/service"
	"github.com/alibabacloud-go/tea/tea"

	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
)

// connect makes a client as a program would: endpoint, scheme and CA are all that differs. A scheme is
// the version and the algorithm of the signature; both are empty for the SDK's own choice, ACS3.
func connect(gateway steps.Gateway, version, algorithm string) *client {
	config := &openapi.Config{
		AccessKeyId:     tea.String(gateway.AccessKeyID),
		AccessKeySecret: tea.String(gateway.AccessKeySecret),
		RegionId:        tea.String(gateway.Region),
		Endpoint:        tea.String(gateway.Address()),
		Protocol:        tea.String(gateway.Scheme()),
		ConnectTimeout:  tea.Int(10_000),
		ReadTimeout:     tea.Int(60_000),
	}
	if gateway.SecurityToken != "" {
		config.SecurityToken = tea.String(gateway.SecurityToken)
	}
	if gateway.CAFile != "" {
		config.Ca = tea.String(gateway.CA())
	}
	if version != "" {
		config.SignatureVersion = tea.String(version)
	}
	if algorithm != "" {
		config.SignatureAlgorithm = tea.String(algorithm)
	}
	return &client{steps.Must(kms.NewClient(config))}
}

// client adds the operations that this version of the SDK has no classes for, through its general call.
type client struct{ *kms.Client }

type GenerateMacRequest struct{ KeyId, Algorithm, Message *string }

type GenerateMacResponse struct {
	Body *struct{ KeyId, Algorithm, Mac, RequestId *string }
}

type VerifyMacRequest struct{ KeyId, Algorithm, Message, Mac *string }

type VerifyMacResponse struct {
	Body *struct {
		KeyId, Algorithm, RequestId *string
		Value                       *bool
	}
}

func (c *client) GenerateMac(request *GenerateMacRequest) (*GenerateMacResponse, error) {
	answer := &GenerateMacResponse{}
	return answer, c.general("GenerateMac", answer, map[string]*string{
		"KeyId": request.KeyId, "Algorithm": request.Algorithm, "Message": request.Message,
	})
}

func (c *client) VerifyMac(request *VerifyMacRequest) (*VerifyMacResponse, error) {
	answer := &VerifyMacResponse{}
	return answer, c.general("VerifyMac", answer, map[string]*string{
		"KeyId": request.KeyId, "Algorithm": request.Algorithm, "Message": request.Message, "Mac": request.Mac,
	})
}

func (c *client) general(action string, answer any, query map[string]*string) error {
	parameters := &openapi.Params{
		Action: tea.String(action), Version: tea.String("2016-01-20"), Protocol: tea.String("HTTPS"),
		Pathname: tea.String("/"), Method: tea.String("POST"), AuthType: tea.String("AK"),
		Style: tea.String("RPC"), ReqBodyType: tea.String("formData"), BodyType: tea.String("json"),
	}
	body, err := c.CallApi(parameters, &openapi.OpenApiRequest{Query: query}, &util.RuntimeOptions{})
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"Body": body["body"]})
	if err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

var requestID = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)

// refusal reads the error type of the SDK. Its message ends with the request id.
func refusal(err error) *api.Refusal {
	var failed *tea.SDKError
	if !errors.As(err, &failed) || failed.StatusCode == nil {
		return nil
	}
	var data struct{ RequestId string }
	if failed.Data != nil {
		json.Unmarshal([]byte(*failed.Data), &data)
	}
	return &api.Refusal{
		Code: tea.StringValue(failed.Code), Status: tea.IntValue(failed.StatusCode),
		Message: tea.StringValue(failed.Message), RequestID: data.RequestId,
	}
}

func variant(name string, gateway steps.Gateway, version, algorithm string, seen *api.Seen) *cases.Variant {
	connected := func(gateway steps.Gateway) *api.Client {
		return &api.Client{
			SDK: connect(gateway, version, algorithm), Refusal: refusal, Seen: seen,
			Answer: func(response any) any { return api.Field(response, "Body") },
		}
	}
	return &cases.Variant{
		Client: connected(gateway), Name: name, Gateway: gateway, Connect: connected,
		WrongSecret: "SignatureDoesNotMatch",
	}
}

func main() {
	maps.Copy(absent, cases.Managed)
	seen := api.NewSeen()
	plain, tls := steps.Plain(), steps.TLS()
	acs3 := variant("http-acs3", plain, "", "", seen)
	cases.All(acs3)
	cases.Wire(variant("https-acs3", tls, "", "", seen))
	cases.Wire(variant("https-rpc1", tls, "", "v2", seen))
	cases.All(variant("https-acs4", tls, "v4", "", seen))
	cases.Text(variant("https-text", steps.Text(), "", "", seen))
	cases.Throttled(variant("http-throttled", steps.Throttled(), "", "", seen))
	for _, gateway := range []steps.Gateway{plain, tls} {
		steps.Step("the-example-encrypts-and-decrypts-by-"+gateway.Scheme(), func(t *steps.T) {
			printed := gateway.RunExample(t, "", nil)
			t.True(strings.HasSuffix(printed, "\ndecrypted: hello\n"), "got %s", printed)
		})
	}
	cases.Complete(acs3, absent)
	steps.End()
}

// absent names the fields that no answer of a gateway sets, and why.
var absent = map[string]string{
	"GetKmsInstance.KmsInstance.VswitchIds":            "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.ZoneIds":               "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.VpcId":                 "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.BindVpcs.BindVpc":      "the instance is in no network of the cloud",
	"GetKmsInstance.KmsInstance.Spec":                  "the instance is not for sale: it has no size",
	"GetKmsInstance.KmsInstance.EndDate":               "the instance is not for sale: it has no end",
	"GetKmsInstance.KmsInstance.CaCertificateChainPem": "the operator has the CA as a file",
}
