package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"holdfast/keys/keyfiles/keyfilestest"
)

var shBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// The ceremony of docs/keys.md, from its first command to its last, in one folder.
func TestTheCeremonyInTheDocumentWorks(t *testing.T) {
	document, err := os.ReadFile("../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	h := &holding{t: t, kms: &recorder{answer: encrypted}}
	h.terminal = newTerminal(h)
	h.terminal.console = func() (console, error) {
		return &person{answer: diligent}, nil
	}
	t.Chdir(t.TempDir())
	key := "0x93247f2209abcacf57b75a51dafae777f9dd38bc7053d1af526f220a7489a6d3a2753e5f3e8b1cfe39b56f43611df74a"
	if err := os.Mkdir("validator_keys", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, "validator_keys/keystore-a.json", keyfilestest.Keystore(1, "x"))
	write(t, "password.txt", "x")
	ran := map[string]bool{}
	for _, block := range shBlock.FindAllStringSubmatch(string(document), -1) {
		for line := range strings.Lines(block[1]) {
			words := strings.Fields(line)
			if words[0] != "bin/keys" {
				continue
			}
			for i, word := range words {
				if word == key { // stands for one of the reader's own
					words[i] = keyfilestest.PublicKey(1).String()
				}
			}
			if words[1] == "new" { // a passphrase takes a second each time it is used
				words = append(words, "--no-passphrase")
			}
			h.want(0, words[1:]...)
			ran[words[1]] = true
		}
	}
	for _, command := range []string{"new", "add", "generate", "list", "remove", "client", "seal", "show", "rotate-tls"} {
		if !ran[command] {
			t.Errorf("the document does not show keys %s", command)
		}
	}
}
