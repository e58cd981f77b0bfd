package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/bundle/bundletest"
	"holdfast/enclave/control/message"
	"holdfast/enclave/egress"
	"holdfast/internal/appliance"
	"holdfast/internal/kmstest"
	"holdfast/verify/envelope"
	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
)

// published are the registers that the tests' policies name.
var published = &pcrs.File{Releases: []pcrs.Release{{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{{
	Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: pcrs.PCR(measured[0]), PCR1: pcrs.PCR(measured[1]), PCR2: pcrs.PCR(measured[2]),
}}}}}

// A vault is a KMS that an enclave reaches through its parent, and one key of it.
type vault struct {
	*kmstest.KMS
	server *kmstest.Server
	arn    string
}

// newVault makes a KMS for an enclave, with a key under another configuration's
// policy.
func newVault(t *testing.T, e *running) *vault {
	t.Helper()
	kms, err := kmstest.New(kmstest.Options{Root: e.module.Root(), Form: kmstest.Alternating})
	if err != nil {
		t.Fatal(err)
	}
	server, err := kms.Serve("127.0.0.1:0", "kms.test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	v := &vault{KMS: kms, server: server}
	if v.arn, err = kms.CreateKey(v.policy(t, [48]byte{1, 2, 3})); err != nil {
		t.Fatal(err)
	}
	v.lead(t, e)
	return v
}

// lead carries an enclave's egress to the KMS.
func (v *vault) lead(t *testing.T, e *running) {
	t.Helper()
	listener, err := e.ports.Listen(egress.KMSPort)
	if err != nil {
		t.Fatal(err)
	}
	appliance.Carry(t, listener, v.server.Dial)
}

// configuration names the key.
func (v *vault) configuration(t *testing.T) string {
	t.Helper()
	roots, err := json.Marshal(string(v.server.Roots))
	if err != nil {
		t.Fatal(err)
	}
	return `"kms":{"key":"` + v.arn + `","endpoint":"https://kms.test:443","roots":` + string(roots) + `},` + anyClient
}

// policy is what `verify policy generate` writes for a configuration.
func (v *vault) policy(t *testing.T, configuration [48]byte) []byte {
	t.Helper()
	policy, err := keypolicy.Generate(published, v.parameters(configuration))
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func (v *vault) parameters(configuration [48]byte) keypolicy.Parameters {
	return keypolicy.Parameters{
		ID: "test", Administrator: v.Role("admin"), Provisioner: v.Role("holder"), Parent: v.Role("parent"),
		Purpose: "holdfast-bundle", Configuration: configuration,
	}
}

// allow puts the policy for a configuration. A new key has another one's.
func (v *vault) allow(t *testing.T, configuration [48]byte) {
	t.Helper()
	if err := v.PutPolicy(v.arn, v.policy(t, configuration)); err != nil {
		t.Fatal(err)
	}
}

// allowTables puts the policy under which the predecessor's rows can be moved.
func (v *vault) allowTables(t *testing.T, configuration [48]byte) {
	t.Helper()
	p := v.parameters(configuration)
	p.Tables = true
	policy, err := keypolicy.Generate(published, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.PutPolicy(v.arn, policy); err != nil {
		t.Fatal(err)
	}
}

// seal seals a described bundle under the key.
func (v *vault) seal(t *testing.T, description string) *bundletest.Sealed {
	t.Helper()
	draft, err := bundletest.Draft([]byte(description))
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := bundle.ParseConfiguration(draft.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	made := &bundletest.Sealed{DataKey: bundletest.NewDataKey()}
	wrapped, err := v.Encrypt(v.arn, made.DataKey.Reveal(), envelope.Context(draft.Name, draft.Version, configuration.Digest()))
	if err != nil {
		t.Fatal(err)
	}
	draft.KMS = &envelope.KMSWrap{Key: v.arn, Ciphertext: wrapped}
	if made.Envelope, err = bundle.Seal(draft, made.DataKey); err != nil {
		t.Fatal(err)
	}
	return made
}

// credentials are the parent's, for so long.
func (v *vault) credentials(lifetime time.Duration) message.Credentials {
	c := v.Issue(v.Role("parent"), lifetime)
	return message.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expiration: c.Expiration}
}

func TestKMSOpensABundleForTheAttestedEnclave(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	made := v.seal(t, with(v.configuration(t), bare(secretKey1), ""))
	v.allow(t, made.Envelope.ConfigurationDigest())
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "credentials")
	given := v.credentials(time.Hour)
	if err := e.control.PutCredentials(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	status := appliance.Wait(t, e.control, message.Serving)
	if status.Bundle.KMSKey != v.arn || status.CredentialsUntil == nil || status.Problem != "" {
		t.Errorf("got status %+v", status)
	}
	request, _ := readExample(t)
	if status, body := e.call(t, "POST", "/api/v1/eth2/sign/"+publicKey1, request); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	e.stop()
	for _, planted := range []string{secretKey1[2:20], given.SecretAccessKey, given.SessionToken} {
		if strings.Contains(e.log.String(), planted) {
			t.Errorf("the log shows %.8s…", planted)
		}
	}
}

// waitForProblem waits until an enclave says why a bundle is not open.
func waitForProblem(t *testing.T, e *running, want string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, err := e.control.Status(t.Context())
		if err == nil && strings.Contains(status.Problem, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got status %+v, %v, want a problem with %q", status, err, want)
		}
	}
}

func TestAnEnclaveThatThePolicyDoesNotNameSaysWhatToCompare(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	made := v.seal(t, with(v.configuration(t), bare(secretKey1), ""))
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "AccessDenied")
	status, err := e.control.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{v.arn, "verify policy", "PCR16", fmt.Sprintf("%x", measured[0])} {
		if !strings.Contains(status.Problem, want) {
			t.Errorf("got problem %q, want %q in it", status.Problem, want)
		}
	}
	// Once the policy is put right, the enclave goes on by itself; new credentials
	// only have it try at once.
	v.allow(t, made.Envelope.ConfigurationDigest())
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	appliance.Wait(t, e.control, message.Serving)
}

func TestAKMSThatIsDownIsAskedAgain(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	made := v.seal(t, with(v.configuration(t), bare(secretKey1), ""))
	v.allow(t, made.Envelope.ConfigurationDigest())
	v.SetFaults(kmstest.Faults{Down: true})
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "Decrypt")
	v.SetFaults(kmstest.Faults{})
	appliance.Wait(t, e.control, message.Serving)
}
