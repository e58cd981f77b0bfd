package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/nsm/nsmtest"
	"holdfast/internal/kmstest"
	"holdfast/verify/envelope"
	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
)

// provision starts a KMS with a key under the policy that this project writes, and
// gives this process the credentials of a role.
func provision(t *testing.T, role string) (k *kmstest.KMS, key, url string) {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k, err = kmstest.New(kmstest.Options{Root: module.Root()})
	if err != nil {
		t.Fatal(err)
	}
	published, err := (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: pcrs.PCR{1}, PCR1: pcrs.PCR{2}, PCR2: pcrs.PCR{3},
	})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := keypolicy.Generate(published, keypolicy.Parameters{
		ID:            "holdfast",
		Administrator: k.Role("administrator"), Provisioner: k.Role("holder"), Parent: k.Role("parent"), Purpose: purpose,
	})
	if err != nil {
		t.Fatal(err)
	}
	if key, err = k.CreateKey(policy); err != nil {
		t.Fatal(err)
	}
	server, err := k.Serve("127.0.0.1:0", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	credentials := k.Issue(k.Role(role), time.Hour)
	roots := t.TempDir() + "/roots.pem"
	write(t, roots, string(server.Roots))
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY": credentials.SecretAccessKey,
		"AWS_SESSION_TOKEN": credentials.SessionToken, "AWS_CA_BUNDLE": roots,
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return k, key, "https://" + server.Address
}

func TestAHolderSealsUnderTheKeyPolicyThatThisProjectWrites(t *testing.T) {
	k, key, url := provision(t, "holder")
	h := hold(t, "--kms-key", key)
	h.terminal.kms = newKMS
	h.want(0, "seal", "--endpoint-url", url)
	e, _, err := openBundle("bundle.hf", "holdfast/identity.txt")
	if err != nil || e.KMS == nil || len(e.KMS.Ciphertext) == 0 || e.KMS.Key != key {
		t.Fatalf("got %v", err)
	}
	calls := k.Calls()
	if len(calls) != 1 || calls[0].Operation != "Encrypt" || calls[0].Error != "" || calls[0].Principal != k.Role("holder") {
		t.Errorf("got %+v", calls)
	}
}

func TestWhoMayNotEncryptCannotSeal(t *testing.T) {
	_, key, url := provision(t, "parent")
	h := hold(t, "--kms-key", key)
	h.terminal.kms = newKMS
	h.want(exitFailed, "seal", "--endpoint-url", url)
	printed := h.printed.String()
	if !strings.Contains(printed, "AccessDenied") || !strings.Contains(printed, "key policy's provisioner") {
		t.Errorf("got %s", printed)
	}
	if data, err := os.ReadFile("bundle.hf"); err == nil {
		if _, err := envelope.Parse(data); err == nil {
			t.Error("a bundle was left")
		}
	}
}
