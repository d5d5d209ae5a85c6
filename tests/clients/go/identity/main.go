// Encrypts with the credentials of the default chain, or of the OIDC provider with an STS endpoint:
// identity default|oidc
//
// With RENEWALS it goes on until the credentials were renewed so often.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"time"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/credentials-go/credentials"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("passed")
}

func run(way string) error {
	credential, err := credential(way)
	if err != nil {
		return err
	}
	client, err := kms.NewClient(&openapi.Config{
		Credential: credential,
		Endpoint:   tea.String(os.Getenv("ENDPOINT")),
		Protocol:   tea.String(os.Getenv("SCHEME")),
		RegionId:   tea.String("cn-hangzhou"),
	})
	if err != nil {
		return err
	}
	renewals, _ := strconv.Atoi(os.Getenv("RENEWALS"))
	sessions, begun := map[string]bool{}, time.Now()
	for calls := 0; calls < 3 || len(sessions) <= renewals; calls++ {
		if err := encrypt(client); err != nil {
			return err
		}
		used, err := credential.GetCredential()
		if err != nil {
			return err
		}
		sessions[tea.StringValue(used.AccessKeyId)] = true
		if time.Since(begun) > time.Minute {
			return fmt.Errorf("%d sessions", len(sessions))
		}
	}
	return nil
}

func encrypt(client *kms.Client) error {
	plaintext := base64.StdEncoding.EncodeToString([]byte("identity"))
	key := tea.String(os.Getenv("KEY"))
	encrypted, err := client.Encrypt(&kms.EncryptRequest{KeyId: key, Plaintext: tea.String(plaintext)})
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
	return nil
}

func credential(way string) (credentials.Credential, error) {
	if way == "default" {
		return credentials.NewCredential(nil)
	}
	config := new(credentials.Config).
		SetType("oidc_role_arn").
		SetRoleArn(os.Getenv("ROLE_ARN")).
		SetOIDCProviderArn(os.Getenv("PROVIDER_ARN")).
		SetOIDCTokenFilePath(os.Getenv("TOKEN_FILE")).
		SetRoleSessionName("go-1").
		SetSTSEndpoint(os.Getenv("STS_ENDPOINT"))
	return credentials.NewCredential(config)
}
