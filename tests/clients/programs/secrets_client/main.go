// Reads secrets with the second generation of the vendor's client for Go, as secrets_client.py says.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	secretsmanager "github.com/aliyun/alibabacloud-secretsmanager-client-go-v2/sdk"
	"github.com/aliyun/alibabacloud-secretsmanager-client-go-v2/sdk/service"
)

func main() {
	settings := service.NewDefaultSecretManagerClientBuilder().WithCustomConfigFile(os.Args[1])
	builder := secretsmanager.NewSecretCacheClientBuilder(settings.Build()).WithLogger(quiet{})
	if len(os.Args) > 2 {
		builder = builder.WithCacheStage(os.Args[2])
	}
	client, err := builder.Build()
	if err != nil {
		panic(err)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.SplitN(lines.Text(), " ", 2)
		value, err := read(client, words[0], words[1])
		if err != nil {
			fmt.Println("!" + base64.StdEncoding.EncodeToString([]byte(err.Error())))
			continue
		}
		fmt.Println("=" + base64.StdEncoding.EncodeToString(value))
	}
	client.Close()
}

func read(client *secretsmanager.SecretManagerCacheClient, how, name string) ([]byte, error) {
	switch how {
	case "text":
		value, err := client.GetStringValue(name)
		return []byte(value), err
	case "binary":
		return client.GetBinaryValue(name)
	case "refresh":
		refreshed, err := client.RefreshNow(name)
		return []byte(fmt.Sprint(refreshed)), err
	}
	return nil, fmt.Errorf("no such way to read: %s", how)
}

// quiet drops what the client would write between the answers.
type quiet struct{}

func (quiet) Flush()                        {}
func (quiet) Tracef(string, ...interface{}) {}
func (quiet) Infof(string, ...interface{})  {}
func (quiet) Debugf(string, ...interface{}) {}
func (quiet) Warnf(string, ...interface{})  {}
func (quiet) Errorf(string, ...interface{}) {}
