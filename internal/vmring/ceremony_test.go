package vmring_test

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/bundle"
	controlclient "holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/tables/rows/rowstest"
	"holdfast/image/eif"
	"holdfast/internal/dynamodblocal"
	"holdfast/internal/kmstest"
	"holdfast/internal/testenv"
	"holdfast/keys/keyfiles/keyfilestest"
	"holdfast/verify/attestation/document"
	"holdfast/verify/envelope"
	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
)

// An office is a key holder's machine and the parent instance in one: a folder, a KMS
// that believes emulated documents, and the programs that are built.
type office struct {
	dir       string
	kms       *kmstest.KMS
	server    *kmstest.Server
	key       string
	published *pcrs.File
	digest    [48]byte // of the folder's configuration
}

// openOffice starts a KMS and a folder whose configuration names it.
func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{dir: t.TempDir()}
	image, err := eif.Parse(readFile(t, testenv.Need(t, "HOLDFAST_EIF")))
	if err != nil {
		t.Fatal(err)
	}
	m := image.Measure()
	if o.published, err = (*pcrs.File)(nil).WithImage("v9.9.9", pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: m.PCR0, PCR1: m.PCR1, PCR2: m.PCR2,
	}); err != nil {
		t.Fatal(err)
	}
	o.write(t, "PCRS.md", o.published.Bytes())
	if o.kms, err = kmstest.New(kmstest.Options{AllowEmulated: true, Form: kmstest.Alternating}); err != nil {
		t.Fatal(err)
	}
	if o.server, err = o.kms.Serve("127.0.0.1:0", "kms.test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.server.Close() })
	if o.key, err = o.kms.CreateKey(o.policy(t, false)); err != nil {
		t.Fatal(err)
	}
	o.want(t, 0, "new", "--network", "hoodi", "--kms-key", o.key, "--tls-name", "signer.example", "--no-passphrase", "--any-client", "--freshness", "journal", "--dir", o.path("holdfast"))
	o.configure(t)
	return o
}

func (o *office) path(name string) string { return filepath.Join(o.dir, name) }

func (o *office) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(o.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// configure leads the enclave to the KMS.
func (o *office) configure(t *testing.T) {
	t.Helper()
	file := filepath.Join("holdfast", "configuration.json")
	var c map[string]any
	if err := json.Unmarshal(readFile(t, o.path(file)), &c); err != nil {
		t.Fatal(err)
	}
	c["kms"] = map[string]any{"key": o.key, "endpoint": "https://kms.test:443", "roots": string(o.server.Roots)}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	o.write(t, file, data)
	parsed, err := bundle.ParseConfiguration(data)
	if err != nil {
		t.Fatal(err)
	}
	o.digest = parsed.Digest()
}

// policy is what `verify policy generate` writes.
func (o *office) policy(t *testing.T, tables bool) []byte {
	t.Helper()
	policy, err := keypolicy.Generate(o.published, keypolicy.Parameters{
		ID: "test", Administrator: o.kms.Role("admin"), Provisioner: o.kms.Role("holder"), Parent: o.kms.Role("parent"),
		Purpose: "holdfast-bundle", Configuration: o.digest, Tables: tables,
	})
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// allow puts a policy.
func (o *office) allow(t *testing.T, tables bool) {
	t.Helper()
	if err := o.kms.PutPolicy(o.key, o.policy(t, tables)); err != nil {
		t.Fatal(err)
	}
}

// want runs bin/keys and wants an exit status.
func (o *office) want(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, code := program(t, "keys", args...)
	if code != status {
		t.Fatalf("keys %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, status, stdout, stderr)
	}
	return stdout, stderr
}

// inside are the words of a command that asks the enclave.
func (o *office) inside(words ...string) []string {
	return append(words, "--control", o.path("hf.sock"), "--dir", o.path("holdfast"), "--pcrs", o.path("PCRS.md"), "--unsafe-accept-emulated")
}

// host runs `parent emulate` without a bundle, with the role's credentials, and ends it
// with the test.
func (o *office) host(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(o.path("journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(testenv.Need(t, "HOLDFAST_BIN"), "parent"), "emulate", "-q",
		"-eif", testenv.Need(t, "HOLDFAST_EIF"), "-qemu", testenv.Need(t, "HOLDFAST_QEMU_DIR"), "-root", testenv.Need(t, "HOLDFAST_QEMU_ROOT"),
		"-listen", "127.0.0.1:0", "-control", o.path("hf.sock"), "-journal", o.path("journal"), "-credentials", "env", "-kms", o.server.Address)
	role := o.kms.Issue(o.kms.Role("parent"), time.Hour)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+role.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+role.SecretAccessKey, "AWS_SESSION_TOKEN="+role.SessionToken,
		"AWS_REGION="+kmstest.DefaultRegion, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true")
	out := &console{}
	cmd.Stderr = out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("parent: %v", err)
		}
		if t.Failed() {
			t.Logf("parent:\n%s", out)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.HasPrefix(line, "https://") {
		t.Fatalf("got %q, %v\n%s", line, err, out)
	}
}

// credited waits until the enclave has the role's credentials.
func (o *office) credited(t *testing.T) *controlclient.Client {
	t.Helper()
	c := controlclient.Unix(o.path("hf.sock"))
	t.Cleanup(c.Close)
	o.await(t, c, func(s message.Status) bool { return s.CredentialsUntil != nil })
	return c
}

func (o *office) await(t *testing.T, c *controlclient.Client, done func(message.Status) bool) message.Status {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		status, err := c.Status(t.Context())
		if err == nil && done(status) {
			return status
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %+v, %v", status, err)
		}
	}
}

// fill makes the predecessor's tables in the real DynamoDB Local, with rows of three
// keys, the last of which is not active.
func (o *office) fill(t *testing.T) (endpoint string) {
	t.Helper()
	server, err := dynamodblocal.Start(t.Context(), dynamodblocal.Prepared(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	db := dynamodb.New(dynamodb.Options{
		Region: kmstest.DefaultRegion, BaseEndpoint: aws.String(server.Endpoint()), Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "example", ""),
	})
	if _, err := db.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(rowstest.ValidatorsTable), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("web3signer_uuid"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("pubkey"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("web3signer_uuid"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("pubkey"), KeyType: types.KeyTypeRange},
		},
	}); err != nil {
		t.Fatal(err)
	}
	for n := byte(1); n <= 3; n++ {
		item := map[string]types.AttributeValue{
			"web3signer_uuid": &types.AttributeValueMemberS{Value: "stack"}, "active": &types.AttributeValueMemberBOOL{Value: n != 3},
			"pubkey":                              &types.AttributeValueMemberS{Value: keyfilestest.PublicKey(n).String()[2:]},
			"encrypted_key_password_mnemonic_b64": &types.AttributeValueMemberS{Value: o.encrypted(t, n)},
		}
		if _, err := db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(rowstest.ValidatorsTable), Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	return server.Endpoint()
}

// encrypted is a row's secret column, as the sample's Lambda writes it.
func (o *office) encrypted(t *testing.T, n byte) string {
	t.Helper()
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	plaintext := fmt.Sprintf(`{"keystore_b64":%q,"password_b64":%q,"mnemonic_b64":%q}`,
		encode(keyfilestest.Keystore(n, "planted password")), encode("planted password"), encode("planted mnemonic"))
	sealed, err := o.kms.Encrypt(o.key, []byte(plaintext), nil)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sealed)
}

// One boot of the real image serves both ceremonies, as the documents describe them.
func TestTheCeremoniesInsideTheRealEnclave(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	o := openOffice(t)
	endpoint := o.fill(t)
	o.host(t)
	control := o.credited(t)
	move := o.inside("import-tables", "--uuid", "stack", "--endpoint-url", endpoint, "--region", kmstest.DefaultRegion, "--out", o.path("moved.hf"))

	t.Run("KMS refuses another configuration's policy, and says what to compare", func(t *testing.T) {
		o.digest[0] ^= 1
		o.allow(t, false)
		o.digest[0] ^= 1
		_, stderr := o.want(t, 1, o.inside("make", "--count", "2", "--out", o.path("made.hf"))...)
		pcr := register16(o.digest)
		if !strings.Contains(stderr, "AccessDenied") || !strings.Contains(stderr, hex.EncodeToString(pcr[:])) {
			t.Errorf("got %s", stderr)
		}
	})
	t.Run("keys are made inside", func(t *testing.T) {
		o.allow(t, false)
		stdout, _ := o.want(t, 0, o.inside("make", "--count", "2", "--out", o.path("made.hf"))...)
		if e := o.read(t, "made.hf"); len(e.PublicKeys) != 2 || !strings.Contains(stdout, "UNSAFE: EMULATED") {
			t.Errorf("got %d keys\n%s", len(e.PublicKeys), stdout)
		}
		stdout, stderr, code := program(t, "verify", "document", "--unsafe-accept-emulated", "--pcrs", o.path("PCRS.md"), o.path("made.hf.evidence.json"))
		if code != 0 || !strings.Contains(stdout, "made inside and sealed") {
			t.Errorf("verify document: exit code %d\n%s%s", code, stdout, stderr)
		}
	})
	t.Run("tables are refused under the policy for bundles", func(t *testing.T) {
		if _, stderr := o.want(t, 1, move...); !strings.Contains(stderr, "verify policy generate --tables") {
			t.Errorf("got %s", stderr)
		}
	})
	t.Run("tables are moved and serve", func(t *testing.T) { o.moves(t, control, move) })
}

// register16 is what PCR16 shows of a configuration.
func register16(digest [48]byte) pcrs.PCR { return document.Extend(pcrs.PCR{}, digest[:]) }

func (o *office) read(t *testing.T, name string) *envelope.Envelope {
	t.Helper()
	e, err := envelope.Parse(readFile(t, o.path(name)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (o *office) moves(t *testing.T, control *controlclient.Client, move []string) {
	o.allow(t, true)
	stdout, stderr := o.want(t, 0, move...)
	if !strings.Contains(stdout, keyfilestest.PublicKey(3).String()+": inactive") || strings.Contains(stdout+stderr, "planted") {
		t.Errorf("got %s%s", stdout, stderr)
	}
	want := [][48]byte{[48]byte(keyfilestest.PublicKey(1)), [48]byte(keyfilestest.PublicKey(2))}
	slices.SortFunc(want, func(a, b [48]byte) int { return strings.Compare(string(a[:]), string(b[:])) })
	e := o.read(t, "moved.hf")
	if !slices.Equal(e.PublicKeys, want) {
		t.Errorf("got keys %x, want %x", e.PublicKeys, want)
	}
	o.allow(t, false) // it is moved; the bundle's own context is enough
	if _, err := control.PutBundle(t.Context(), e.Bytes()); err != nil {
		t.Fatal(err)
	}
	status := o.await(t, control, func(s message.Status) bool { return s.State == message.Serving })
	if status.Bundle.Keys != 2 || status.Bundle.KMSKey != o.key {
		t.Errorf("got %+v", status.Bundle)
	}
}
