// Package steps runs the named steps of a client and tells how each ended, one line a step.
package steps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A Gateway is what `hsmgate dev --json` prints.
type Gateway struct {
	Endpoint              string `json:"endpoint"`
	Region                string `json:"region"`
	Account               string `json:"account"`
	AccessKeyID           string `json:"access_key_id"`
	AccessKeySecret       string `json:"access_key_secret"`
	SecurityToken         string `json:"-"`
	KeyID                 string `json:"key_id"`
	Alias                 string `json:"alias"`
	CAFile                string `json:"ca_file"`
	ClientKeyFile         string `json:"client_key_file"`
	ClientKeyPasswordFile string `json:"client_key_password_file"`
	Admin                 string `json:"admin"`
}

// Plain is the gateway over plain HTTP.
func Plain() Gateway { return gateway("HSMGATE_DEV_JSON") }

// TLS is the gateway over TLS.
func TLS() Gateway { return gateway("HSMGATE_TLS_DEV_JSON") }

// Text is the gateway over TLS that takes a plaintext that is not Base64.
func Text() Gateway { return gateway("HSMGATE_TEXT_DEV_JSON") }

// Throttled is the gateway that takes five calls of an operation a second.
func Throttled() Gateway { return gateway("HSMGATE_THROTTLED_DEV_JSON") }

// Program is the path of the hsmgate program.
func Program() string { return os.Getenv("HSMGATE_PROGRAM") }

func gateway(variable string) Gateway {
	var gateway Gateway
	text, err := os.ReadFile(os.Getenv(variable))
	if err == nil {
		err = json.Unmarshal(text, &gateway)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s names no file of a gateway: %v\n", variable, err)
		os.Exit(2)
	}
	return gateway
}

// AssumeRoleRequest gives the gateway with temporary credentials of its user, which a policy limits further. Only
// the gateways over TLS say where their state is.
func (g Gateway) AssumeRoleRequest(policy string) (Gateway, error) {
	state := filepath.Dir(filepath.Dir(g.CAFile))
	file, err := os.CreateTemp("", "policy")
	if err != nil {
		return g, err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(policy); err != nil {
		return g, err
	}
	program := exec.Command(Program(), "sts", "assume", "--json", "--user-name", "dev",
		"--config", filepath.Join(state, "hsmgate.toml"), "--policy", file.Name())
	program.Env = append(os.Environ(), "SOFTHSM2_CONF="+filepath.Join(state, "softhsm2.conf"))
	text, err := program.Output()
	if err != nil {
		return g, err
	}
	var made struct {
		Credentials struct{ AccessKeyId, AccessKeySecret, SecurityToken string }
	}
	err = json.Unmarshal(text, &made)
	g.AccessKeyID, g.AccessKeySecret = made.Credentials.AccessKeyId, made.Credentials.AccessKeySecret
	g.SecurityToken = made.Credentials.SecurityToken
	return g, err
}

// Scheme is http or https.
func (g Gateway) Scheme() string {
	scheme, _, _ := strings.Cut(g.Endpoint, "://")
	return scheme
}

// Address is host and port, which is what most clients call an endpoint.
func (g Gateway) Address() string {
	_, address, _ := strings.Cut(g.Endpoint, "://")
	return address
}

// CA is the PEM text of the gateway's CA, empty over plain HTTP.
func (g Gateway) CA() string { return read(g.CAFile) }

// ClientKey is the text of the client key's file.
func (g Gateway) ClientKey() string { return read(g.ClientKeyFile) }

// ClientKeyPassword is the client key's password.
func (g Gateway) ClientKeyPassword() string { return read(g.ClientKeyPasswordFile) }

// Settings writes a file of examples/secrets-client for this gateway into a folder, with a client key beside
// it, and gives its path.
func (g Gateway) Settings(t *T, folder, name, clientKey, password string) string {
	keyFile, passwordFile := filepath.Join(folder, "client-key.json"), filepath.Join(folder, "password")
	t.OK(os.WriteFile(keyFile, []byte(clientKey), 0o600))
	t.OK(os.WriteFile(passwordFile, []byte(password), 0o600))
	text := strings.NewReplacer(
		"kms.example:8443", g.Address(), "/etc/hsmgate/ca.pem", g.CAFile,
		"/etc/hsmgate/client-key-password", passwordFile, "/etc/hsmgate/client-key.json", keyFile,
		"LTAI-example", g.AccessKeyID, "secret-example", g.AccessKeySecret,
	).Replace(read(filepath.Join(os.Getenv("HSMGATE_SETTINGS"), name)))
	file := filepath.Join(folder, name)
	t.OK(os.WriteFile(file, []byte(text), 0o600))
	return file
}

// RunExample runs the program of examples/go that the harness has built beside this one, for this gateway, and gives
// what it prints.
func (g Gateway) RunExample(t *T, input string, variables []string, arguments ...string) string {
	program := filepath.Join(filepath.Dir(Must(os.Executable())), "example")
	example := exec.Command(program, arguments...)
	example.Env = append(append(os.Environ(), "HSMGATE_ENDPOINT="+g.Endpoint, "HSMGATE_CA_FILE="+g.CAFile,
		"HSMGATE_ACCESS_KEY_ID="+g.AccessKeyID, "HSMGATE_ACCESS_KEY_SECRET="+g.AccessKeySecret), variables...)
	example.Stdin = strings.NewReader(input)
	var errors strings.Builder
	example.Stderr = &errors
	output, err := example.Output()
	t.True(err == nil, "%v: %s", err, errors.String())
	return string(output)
}

func read(file string) string {
	if file == "" {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return string(text)
}

var (
	name   = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	failed bool
)

// A T is one step. Its methods end the step when what they are told does not hold.
type T struct{}

type ending struct {
	word, reason string
}

// Step runs one step and prints how it ended. A panic of the client is a failure of the step.
func Step(called string, step func(t *T)) {
	if !name.MatchString(called) {
		panic("no name of a step: " + called)
	}
	how := run(step)
	if how.word == "passed" {
		fmt.Println("passed", called)
		return
	}
	failed = failed || how.word == "failed"
	reason := strings.Join(strings.Fields(how.reason), " ")
	if len(reason) > 2000 {
		reason = reason[:2000] + " …"
	}
	fmt.Printf("%s %s: %s\n", how.word, called, reason)
}

func run(step func(t *T)) (how ending) {
	defer func() {
		switch thrown := recover().(type) {
		case nil:
		case ending:
			how = thrown
		default:
			how = ending{"failed", fmt.Sprint("panic: ", thrown)}
		}
	}()
	step(&T{})
	return ending{word: "passed"}
}

// End ends the program as the harness wants it.
func End() {
	if failed {
		os.Exit(1)
	}
	os.Exit(0)
}

// Fail ends the step as failed.
func (t *T) Fail(format string, arguments ...any) {
	panic(ending{"failed", fmt.Sprintf(format, arguments...)})
}

// Skip ends the step as skipped.
func (t *T) Skip(format string, arguments ...any) {
	panic(ending{"skipped", fmt.Sprintf(format, arguments...)})
}

// OK wants no error.
func (t *T) OK(err error) {
	if err != nil {
		t.Fail("%v", err)
	}
}

// True wants a condition.
func (t *T) True(holds bool, format string, arguments ...any) {
	if !holds {
		t.Fail(format, arguments...)
	}
}

// Equal wants one value to be the other, as they are printed.
func (t *T) Equal(got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fail("got %v, want %v", got, want)
	}
}

// Bytes wants the same bytes.
func (t *T) Bytes(got, want []byte) {
	if !bytes.Equal(got, want) {
		t.Fail("got %d bytes %.20x…, want %d bytes %.20x…", len(got), got, len(want), want)
	}
}

// Must gives the value of a call that may not fail; it is for use within a step.
func Must[V any](value V, err error) V {
	if err != nil {
		panic(ending{"failed", err.Error()})
	}
	return value
}
