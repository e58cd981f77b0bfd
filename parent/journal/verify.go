package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/enclave/slashing/journal/wire"
)

// Report is what can be told of a journal's files without keys: whether every record is as it was written and
// follows the one before. Whether a record is the enclave's, only the enclave can tell.
type Report struct {
	File    string        // the newest, which a server would use; empty if there is none
	First   uint64        // sequence number of its first record, a snapshot
	Records int           // complete ones in it
	Bytes   int64         // of them
	Head    wire.Position // of the last; zero if there is none

	// Incomplete is how many bytes come after the last complete record. A crash leaves them, and a server at
	// work has them for a moment.
	Incomplete int64
}

// Verify reads the journal in a directory and changes nothing. A record that went bad is a *DamageError.
func Verify(dir string) (Report, error) { return verify(directory{dir}) }

func verify(d disk) (Report, error) {
	names, err := d.List()
	if err != nil {
		return Report{}, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return len(name) != len(fileName(0)) || !strings.HasSuffix(name, suffix)
	})
	if len(names) == 0 {
		return Report{}, nil
	}
	report := Report{File: slices.Max(names)}
	f, err := d.Open(report.File)
	if err != nil {
		return report, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return report, err
	}
	return report, report.scan(&scanner{name: report.File, reader: f, size: size})
}

// scan reads every entry.
func (r *Report) scan(s *scanner) error {
	_, err := s.next()
	for ; err == nil; _, err = s.next() {
		r.Records++
	}
	r.First, r.Bytes, r.Head = s.first, s.offset, s.head
	switch {
	case errors.Is(err, errTorn):
		r.Incomplete = s.size - s.offset
	case !errors.Is(err, io.EOF):
		return err
	}
	if s.name != fileName(s.first) {
		return &DamageError{s.name, 0, 0, fmt.Errorf("it begins with record %d (0: with none that is complete)", s.first)}
	}
	return nil
}
