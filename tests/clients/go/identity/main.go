// Encrypts with the credentials of the default chain, or of the OIDC provider with an STS endpoint:
// identity HOST:PORT KEY default|oidc
package main

import (
	"encoding/base64"
	"fmt"
	"os"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/credentials-go/credentials"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("passed")
}

func run(endpoint, key, way string) error {
	credential, err := credential(endpoint, way)
	if err != nil {
		return err
	}
	client, err := kms.NewClient(&openapi.Config{
		Credential: credential,
		Endpoint:   tea.String(endpoint),
		Protocol:   tea.String("https"),
		RegionId:   tea.String("cn-hangzhou"),
	})
	if err != nil {
		return err
	}
	plaintext := base64.StdEncoding.EncodeToString([]byte("identity"))
	for range 3 {
		encrypted, err := client.Encrypt(&kms.EncryptRequest{KeyId: tea.String(key), Plaintext: tea.String(plaintext)})
		if err != nil {
			return err
		}
		decrypted, err := client.Decrypt(&kms.DecryptRequest{CiphertextBlob: encrypted.Body.CiphertextBlob})
		if err != nil {
			return err
		}
		if tea.StringValue(decrypted.Body.Plaintext) != plaintext {
			return fmt.Errorf("another plaintext")
		}
	}
	return nil
}

func credential(endpoint, way string) (credentials.Credential, error) {
	if way == "default" {
		return credentials.NewCredential(nil)
	}
	config := new(credentials.Config).
		SetType("oidc_role_arn").
		SetRoleArn(os.Getenv("ROLE_ARN")).
		SetOIDCProviderArn(os.Getenv("PROVIDER_ARN")).
		SetOIDCTokenFilePath(os.Getenv("TOKEN_FILE")).
		SetRoleSessionName("go-1").
		SetSTSEndpoint(endpoint)
	return credentials.NewCredential(config)
}
