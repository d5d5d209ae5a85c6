// Package older connects the older generation of official Go SDKs (alibaba-cloud-sdk-go), in whatever
// version the program pins that uses it.
package older

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"net/http"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	failure "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
)

// Connect makes a client as a program would: domain, scheme and CA are all that differs.
func Connect(gateway steps.Gateway) *kms.Client {
	config := sdk.NewConfig().WithScheme(gateway.Scheme())
	if gateway.CAFile != "" {
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM([]byte(gateway.CA()))
		config.HttpTransport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	}
	var with auth.Credential = credentials.NewAccessKeyCredential(gateway.AccessKeyID, gateway.AccessKeySecret)
	if gateway.SecurityToken != "" {
		with = credentials.NewStsTokenCredential(gateway.AccessKeyID, gateway.AccessKeySecret, gateway.SecurityToken)
	}
	client := steps.Must(kms.NewClientWithOptions(gateway.Region, config, with))
	client.Domain = gateway.Address()
	client.SetConnectTimeout(10 * time.Second)
	client.SetReadTimeout(time.Minute)
	return client
}

// A Way is how a client calls: the method, and the format that it asks for.
type Way struct{ Method, Format string }

// Refusal reads the error type of the SDK.
func Refusal(err error) *api.Refusal {
	var failed *failure.ServerError
	if !errors.As(err, &failed) {
		return nil
	}
	shown := &api.Refusal{
		Code: failed.ErrorCode(), Status: failed.HttpStatus(), Message: failed.Message(),
		RequestID: failed.RequestId(),
	}
	if shown.Code == "" {
		// The SDK reads errors in JSON only, and gives one in XML as it came, as its message.
		var sent struct{ Code, Message, RequestId string }
		if xml.Unmarshal([]byte(failed.Message()), &sent) == nil {
			shown.Code, shown.Message, shown.RequestID = sent.Code, sent.Message, sent.RequestId
		}
	}
	return shown
}

// Variant is a client for the cases.
func Variant(name string, gateway steps.Gateway, way Way, seen *api.Seen) *cases.Variant {
	connected := func(gateway steps.Gateway) *api.Client {
		return &api.Client{
			SDK: Connect(gateway), Refusal: Refusal, Seen: seen,
			Answer:  func(response any) any { return response },
			Request: Prepare(way),
		}
	}
	return &cases.Variant{
		Client: connected(gateway), Name: name, Gateway: gateway, Connect: connected, XML: way.Format == "XML",
		WrongSecret: "SignatureDoesNotMatch",
	}
}

// Prepare does to a request what the SDK's own functions do that make one.
func Prepare(way Way) func(request any, action string) {
	return func(request any, action string) {
		rpc := &requests.RpcRequest{}
		api.Embed(request, "RpcRequest", rpc)
		rpc.InitWithApiInfo("Kms", "2016-01-20", action, "kms", "openAPI")
		rpc.Method = way.Method
		rpc.AcceptFormat = way.Format
	}
}
