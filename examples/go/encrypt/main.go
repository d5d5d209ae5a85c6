// Encrypts and decrypts with the official SDK of the public API: go run ./encrypt
//
// The address and the AccessKey are those that `hsmgate dev` prints.
package main

import (
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strings"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	client, err := connect()
	if err != nil {
		return err
	}
	plaintext := base64.StdEncoding.EncodeToString([]byte("hello"))
	encrypted, err := client.Encrypt(&kms.EncryptRequest{
		KeyId: tea.String("alias/demo"), Plaintext: tea.String(plaintext),
	})
	if err != nil {
		return err
	}
	fmt.Println("encrypted:", tea.StringValue(encrypted.Body.CiphertextBlob))
	decrypted, err := client.Decrypt(&kms.DecryptRequest{CiphertextBlob: encrypted.Body.CiphertextBlob})
	if err != nil {
		return err
	}
	hello, err := base64.StdEncoding.DecodeString(tea.StringValue(decrypted.Body.Plaintext))
	fmt.Println("decrypted:", string(hello))
	return err
}

func connect() (*kms.Client, error) {
	protocol, address, _ := strings.Cut(os.Getenv("HSMGATE_ENDPOINT"), "://")
	config := &openapi.Config{
		Endpoint:        tea.String(address),
		Protocol:        tea.String(protocol),
		AccessKeyId:     tea.String(os.Getenv("HSMGATE_ACCESS_KEY_ID")),
		AccessKeySecret: tea.String(os.Getenv("HSMGATE_ACCESS_KEY_SECRET")),
	}
	if file := os.Getenv("HSMGATE_CA_FILE"); file != "" {
		ca, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		config.Ca = tea.String(string(ca))
	}
	return kms.NewClient(config)
}
