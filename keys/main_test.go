package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/enclave/bundle"
	"holdfast/enclave/secret"
	"holdfast/keys/keyfiles/keyfilestest"
	"holdfast/verify/envelope"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keys": main})
}

// TestScripts runs testdata/script. "keystore FILE N PASSWORD" makes a keystore of
// the scalar N, and "opens BUNDLE IDENTITY KEYS" opens a bundle as its holder, and
// leaves parts of two of its secrets in $SLASHING_KEY and $TLS_KEY.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for n := byte(1); n <= 3; n++ {
				env.Setenv("KEY"+strconv.Itoa(int(n)), keyfilestest.PublicKey(n).String())
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"keystore": makeKeystore,
			"opens":    checkOpens,
		},
	})
}

func makeKeystore(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: keystore FILE N PASSWORD")
	}
	n, err := strconv.ParseUint(args[1], 10, 8)
	ts.Check(err)
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(keyfilestest.Keystore(byte(n), args[2])), 0o600))
}

// openBundle opens a bundle as its holder can, without a passphrase.
func openBundle(file, identityFile string) (*envelope.Envelope, *bundle.Bundle, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	e, err := envelope.Parse(data)
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(identityFile)
	if err != nil {
		return nil, nil, err
	}
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(e.Age), identities...)
	if err != nil {
		return nil, nil, err
	}
	key, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, err
	}
	b, err := bundle.Open(e, secret.New(key))
	return e, b, err
}

func checkOpens(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: opens BUNDLE IDENTITY KEYS")
	}
	_, b, err := openBundle(ts.MkAbs(args[0]), ts.MkAbs(args[1]))
	if neg {
		if err == nil {
			ts.Fatalf("it opens")
		}
		return
	}
	ts.Check(err)
	if strconv.Itoa(len(b.Keys)) != args[2] {
		ts.Fatalf("got %d keys, want %s", len(b.Keys), args[2])
	}
	if b.Identity == nil || b.SlashingKey.Len() != bundle.SlashingKeySize {
		ts.Fatalf("got no identity or slashing key")
	}
	// For scripts that look for secrets where none may be.
	ts.Setenv("SLASHING_KEY", hex.EncodeToString(b.SlashingKey.Reveal()))
	pem := strings.Split(string(b.Identity.Key.Reveal()), "\n")
	ts.Setenv("TLS_KEY", regexp.QuoteMeta(pem[1][50:])) // after what every key begins with
}
