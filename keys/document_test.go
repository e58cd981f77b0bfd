package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/keys/keyfiles/keyfilestest"
)

var shBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// commandsOf returns the words of the keys commands in a document's sh blocks, up to a
// redirection.
func commandsOf(t *testing.T, name string) (commands [][]string) {
	t.Helper()
	document, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range shBlock.FindAllStringSubmatch(string(document), -1) {
		for line := range strings.Lines(block[1]) {
			if words := strings.Fields(line); words[0] == "bin/keys" {
				commands = append(commands, words[1:])
			}
		}
	}
	return commands
}

// diligentHolder works in an empty folder, with somebody at the terminal.
func diligentHolder(t *testing.T) *holding {
	t.Helper()
	h := &holding{t: t, kms: &recorder{answer: encrypted}}
	h.terminal = newTerminal(h)
	h.terminal.console = func() (console, error) {
		return &person{answer: diligent}, nil
	}
	t.Chdir(t.TempDir())
	return h
}

// The ceremony of docs/keys.md, from its first command to its last, in one folder.
func TestTheCeremonyInTheDocumentWorks(t *testing.T) {
	commands := commandsOf(t, "../docs/keys.md")
	h := diligentHolder(t)
	m := h.meetMaker()
	key := "0x93247f2209abcacf57b75a51dafae777f9dd38bc7053d1af526f220a7489a6d3a2753e5f3e8b1cfe39b56f43611df74a"
	if err := os.Mkdir("validator_keys", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, "validator_keys/keystore-a.json", keyfilestest.Keystore(1, "x"))
	write(t, "password.txt", "x")
	ran := map[string]bool{}
	for _, words := range commands {
		for i, word := range words {
			if word == key { // stands for one of the reader's own
				words[i] = keyfilestest.PublicKey(1).String()
			}
		}
		switch words[0] {
		case "new": // a passphrase takes a second each time it is used
			words = append(words, "--no-passphrase")
		case "make":
			words = m.trusting(words...)
		}
		h.want(0, words...)
		ran[words[0]] = true
	}
	for _, command := range []string{"new", "add", "generate", "list", "remove", "client", "seal", "show", "rotate-tls", "make"} {
		if !ran[command] {
			t.Errorf("the document does not show keys %s", command)
		}
	}
}

// Moving over as docs/moving.md has it, from tables and from a file.
func TestMovingOverAsInTheDocumentWorks(t *testing.T) {
	commands := commandsOf(t, "../docs/moving.md")
	h := diligentHolder(t)
	m := h.meetMaker()
	exported(t)
	tables := sampleTables(t)
	moved := 0
	for _, words := range commands {
		switch words[0] {
		case "new":
			words = append(words, "--no-passphrase")
		case "import-tables":
			if words = m.trusting(words...); !slices.Contains(words, "--from") {
				words = append(words, "--endpoint-url", tables)
			}
			moved++
		}
		h.want(0, words...)
	}
	if e := readBundle(t, "bundle.hf"); moved != 2 || len(e.PublicKeys) != 2 {
		t.Errorf("moved %d times, %d keys", moved, len(e.PublicKeys))
	}
}
