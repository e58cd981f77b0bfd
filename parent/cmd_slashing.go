package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
)

const slashingHelp = `usage: parent slashing VERB [flags] [arguments]

Slashing protection of a running enclave. Histories are EIP-3076 documents, as every client reads and
writes them.

  export FILE|-       write the history of every key
  import FILE         merge a history: wholly or not at all, and nothing is ever forgotten
  watermarks          show the highest slot and epochs of every key
  raise               raise them; they cannot be lowered
  head                print the journal that this start of the enclave read, for 'vouch'
  vouch               say, as the operator, that this journal is current
  verify DIR          check a journal's files, without keys and without an enclave

  parent slashing export -control hf.sock history.json
  parent slashing import -control hf.sock history.json
  parent slashing watermarks -control hf.sock -json
  parent slashing raise -control hf.sock -epoch 300000 -slot 9600000 -bundle bundle.hf
  parent slashing raise -control hf.sock -epoch 300000 -key 0x93247f2209abcacf57b75a51dafae777f9dd38bc7053d1af526f220a7489a6d3a2753e5f3e8b1cfe39b56f43611df74a
  parent slashing vouch -control hf.sock -key operator.pem -expect 5f0d…

Where the operator's key is on another machine:

  parent slashing head -control hf.sock >head.json        on the parent instance
  parent slashing vouch -head head.json -key operator.pem -expect 5f0d… >statement.json   there
  parent slashing vouch -control hf.sock -statement statement.json       on the parent instance

'parent slashing VERB -h' tells more and lists the flags.
Exit codes: 0 done, 1 failed or refused, 2 usage.
`

// A verb is the word after "slashing" or "tables".
type verb func(ctx context.Context, args []string, stdout, stderr io.Writer) error

var slashingVerbs = map[string]verb{
	"export": slashingExport, "import": slashingImport, "watermarks": slashingWatermarks, "raise": slashingRaise,
	"head": slashingHead, "vouch": slashingVouch, "verify": slashingVerify,
}

func slashingCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return dispatch(ctx, "slashing", slashingHelp, slashingVerbs, args, stdout, stderr)
}

// dispatch runs the verb that the first argument names.
func dispatch(ctx context.Context, command, help string, verbs map[string]verb, args []string, stdout, stderr io.Writer) error {
	names := strings.Join(slices.Sorted(maps.Keys(verbs)), ", ")
	switch {
	case len(args) == 0:
		return usagef("want a verb: %s (hint: parent %s -h)", names, command)
	case isHelp(args[0]):
		_, err := io.WriteString(stdout, help)
		return err
	case verbs[args[0]] == nil:
		return usagef("unknown verb %q, want %s (hint: parent %s -h)", args[0], names, command)
	}
	return verbs[args[0]](ctx, args[1:], stdout, stderr)
}

const exportHelp = `usage: parent slashing export [flags] FILE|-

Writes what every key of the enclave has signed as an EIP-3076 document: of each key the highest slot and
epochs, which is all that the enclave keeps. FILE appears when it is complete, in the place of the one before;
- is standard output. Stop the enclave's clients first, and do not start this enclave again once another
signer has the keys.

  parent slashing export -control hf.sock history.json
  parent slashing export -control hf.sock - | jq .metadata

flags:
`

func slashingExport(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags("slashing export", exportHelp, stdout)
	socket := f.control()
	if err := f.parse(args, 1, 1); err != nil {
		return err
	}
	c, err := reach(*socket)
	if err != nil {
		return err
	}
	defer c.Close()
	data, err := c.Interchange(ctx)
	if err != nil {
		return err
	}
	history, err := slashing.ReadInterchange(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("the enclave's export: %w", err)
	}
	if f.args[0] == "-" {
		_, err := stdout.Write(data)
		return err
	}
	if err := replaceFile(f.args[0], data); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "exported %d keys of genesis validators root %#x\n", len(history.States), history.GenesisValidatorsRoot)
	return nil
}

// replaceFile puts a complete and durable file into the place of the one before.
func replaceFile(path string, data []byte) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".holdfast-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	_, err = temporary.Write(data)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a renaming durable.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

const importHelp = `usage: parent slashing import [flags] FILE

Merges an EIP-3076 document into the enclave's slashing protection: from then on whatever the enclave or
the document forbids is refused. All of it is taken or, on any error, nothing; what happened to each key is
printed. The document may be complete and hundreds of megabytes long, as Web3Signer's export of its
PostgreSQL database is: it is reduced to each key's highest slot and epochs before it is sent, and what is
below those will be refused.

The other signer must have stopped before its history was exported, and must never start again.

  web3signer eth2 export --to=history.json      there, after it was stopped
  parent slashing import -control hf.sock history.json

flags:
`

func slashingImport(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags("slashing import", importHelp, stdout)
	socket := f.control()
	if err := f.parse(args, 1, 1); err != nil {
		return err
	}
	document, err := reduce(f.args[0])
	if err != nil {
		return err
	}
	c, err := reach(*socket)
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.Import(ctx, document)
	if err != nil {
		return notImported(err)
	}
	return printImport(stdout, result)
}

// notImported says what an error means: a refusal that nothing was imported, and a store that failed or a
// connection that broke that nobody knows.
func notImported(err error) error {
	var refused *client.RefusedError
	if errors.As(err, &refused) && refused.Code < http.StatusInternalServerError {
		return fmt.Errorf("nothing was imported: %w", err)
	}
	return fmt.Errorf("whether the history was imported is unknown: %w (hint: import it again, which does no harm)", err)
}

// reduce reads a document and returns one of its maxima.
func reduce(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	history, err := slashing.ReadInterchange(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (nothing was imported)", path, err)
	}
	return history.MarshalJSON()
}

func printImport(w io.Writer, result message.ImportResult) error {
	count := map[string]int{}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(result.Keys)) {
		said := printable(result.Keys[key])
		count[said]++
		fmt.Fprintf(&b, "%s  %s\n", printable(key), said)
	}
	fmt.Fprintf(&b, "imported: %d keys", len(result.Keys))
	for _, said := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&b, ", %d %s", count[said], said)
	}
	_, err := io.WriteString(w, b.String()+"\n")
	return err
}

const watermarksHelp = `usage: parent slashing watermarks [flags]

Shows, of every key, the highest slot of a block and the highest source and target epoch of an attestation
that it has signed or was raised to. Nothing at or below them is signed but the very last message again; a
source may be the same.

  parent slashing watermarks -control hf.sock
  parent slashing watermarks -control hf.sock -json

flags:
`

func slashingWatermarks(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags("slashing watermarks", watermarksHelp, stdout)
	socket := f.control()
	asJSON := f.Bool("json", false, "print JSON, for machines")
	if err := f.parse(args, 0, 0); err != nil {
		return err
	}
	c, err := reach(*socket)
	if err != nil {
		return err
	}
	defer c.Close()
	marks, err := c.Watermarks(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(stdout, marks)
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "key\tslot\tsource\ttarget")
	for _, m := range marks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", printable(m.PublicKey), number(m.Slot), number(m.Source), number(m.Target))
	}
	return t.Flush()
}

// number shows a watermark, or that there is none.
func number(n *uint64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(*n, 10)
}
