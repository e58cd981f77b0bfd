package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"holdfast/enclave/slashing/journal/wire"
)

const (
	suffix    = ".journal"     // after the first sequence number, in 20 digits
	newSuffix = ".new"         // of a file that is being made
	tornInfix = ".incomplete-" // of what was cut off a journal's end, and a number
	maxTorn   = 16             // such pieces kept of one file
)

// fileName names the file whose first record has a sequence number.
func fileName(sequence uint64) string { return fmt.Sprintf("%020d%s", sequence, suffix) }

// chain is the journal in a directory: one file that begins with a snapshot and to
// which records are appended, and for moments two.
//
// Whatever fails on the disk leaves it unsure what is there. Then the chain breaks:
// nothing is appended any more until it has been opened again.
type chain struct {
	disk  disk
	log   *slog.Logger
	stats *counters

	opened bool       // and not broken since
	file   appendFile // nil while there is no record
	name   string
	size   int64 // of the file, all of it durable
	head   wire.Position
	torn   uint32 // bytes that opening cut off
}

// open finds the newest file, checks it, and writes it anew: after a crash or a
// failed sync, what can be read may be in memory alone, and syncing it once more
// would not tell (https://lwn.net/Articles/752063). What open finds is durable when
// it returns.
func (c *chain) open() error {
	c.broken()
	c.head, c.torn = wire.Position{}, 0
	names, err := c.disk.List()
	if err != nil {
		return err
	}
	files, err := c.tidy(names)
	if err != nil {
		return err
	}
	if len(files) > 0 {
		err = c.renew(files[len(files)-1], names)
		files = files[:len(files)-1]
	}
	for _, superseded := range files {
		if err == nil {
			err = c.disk.Remove(superseded)
		}
	}
	c.opened = err == nil
	return err
}

// tidy removes files that were being made, and returns the journal's, oldest first.
func (c *chain) tidy(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, suffix+newSuffix):
			if err := c.disk.Remove(name); err != nil {
				return nil, err
			}
		case len(name) == len(fileName(0)) && strings.HasSuffix(name, suffix):
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files, nil
}

// renew checks a file and puts a copy of its complete entries in its place.
func (c *chain) renew(name string, names []string) error {
	old, err := c.disk.Open(name)
	if err != nil {
		return err
	}
	defer old.Close()
	size, err := old.Size()
	if err != nil {
		return err
	}
	made, err := c.disk.Create(name + newSuffix)
	if err != nil {
		return err
	}
	scan := &scanner{name: name, reader: old, size: size}
	if err := c.copyEntries(made, scan, names); err != nil {
		_ = made.Close()
		return err
	}
	return c.install(made, name, scan.offset, scan.head)
}

// copyEntries copies the complete entries, of which there is one at least, and sets
// aside what comes after.
func (c *chain) copyEntries(made appendFile, scan *scanner, names []string) error {
	var err error
	for err == nil {
		var entry wire.Entry
		at := scan.offset
		if entry, err = scan.next(); err == nil {
			_, err = made.WriteAt(appendEntry(nil, entry.Digest, entry.Record), at)
		}
	}
	torn := errors.Is(err, errTorn)
	switch {
	case !torn && !errors.Is(err, io.EOF):
		return err
	case scan.name != fileName(scan.first):
		return &DamageError{scan.name, 0, 0, fmt.Errorf("it begins with record %d (0: with none that is complete)", scan.first)}
	case torn:
		return c.setAside(scan, names)
	}
	return nil
}

// setAside keeps the incomplete end of a file, and says so.
func (c *chain) setAside(scan *scanner, names []string) error {
	length := scan.size - scan.offset
	c.torn = uint32(min(length, 1<<32-1))
	c.log.Warn("the journal ends in an incomplete record, which was never acknowledged",
		"file", scan.name, "offset", scan.offset, "bytes", length, "after", scan.head.Sequence)
	for n := range maxTorn {
		aside := fmt.Sprint(scan.name, tornInfix, n)
		if !slices.Contains(names, aside) {
			return c.keep(aside, io.NewSectionReader(scan.reader, scan.offset, min(length, entryHeader+wire.MaxRecord)))
		}
	}
	return nil
}

func (c *chain) keep(name string, content io.Reader) error {
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	kept, err := c.disk.Create(name)
	if err != nil {
		return err
	}
	_, err = kept.WriteAt(data, 0)
	return errors.Join(err, kept.Close())
}

// install makes a new file durable and then visible under its name, and appends to
// it from now on.
func (c *chain) install(made appendFile, name string, size int64, head wire.Position) error {
	err := c.sync(made)
	if err == nil {
		err = c.disk.Rename(name+newSuffix, name)
	}
	if err == nil {
		c.stats.folderSyncs.Add(1)
		err = c.disk.Sync()
	}
	if err != nil {
		_ = made.Close()
		return err
	}
	if c.file != nil {
		_ = c.file.Close()
	}
	c.file, c.name, c.size, c.head = made, name, size, head
	return nil
}

func (c *chain) sync(f appendFile) error {
	c.stats.syncs.Add(1)
	return f.Sync()
}

// broken lets go of the file, so that nothing is written to it again.
func (c *chain) broken() {
	if c.file != nil {
		_ = c.file.Close()
	}
	c.file, c.opened = nil, false
}

// append makes records durable and returns the positions of those that are, which
// with an error may be the first of them or none. Records that come together share
// one sync, but for a snapshot, which begins a new file.
func (c *chain) append(entries []wire.Append) (durable []wire.Position, err error) {
	for len(entries) > 0 && err == nil {
		var n int
		n, err = c.group(entries)
		if n > 0 {
			if failure := c.write(entries[:n]); failure != nil {
				return durable, failure
			}
		}
		for _, entry := range entries[:n] {
			durable = append(durable, position(entry))
		}
		entries = entries[n:]
	}
	return durable, err
}

// position is that of a record that was found to be well formed.
func position(entry wire.Append) wire.Position {
	header, _ := wire.ParseHeader(entry.Record)
	return wire.Position{Sequence: header.Sequence, Digest: entry.Digest}
}

// group returns how many records from the first on go into one write, and what is
// wrong with the one after them.
func (c *chain) group(entries []wire.Append) (int, error) {
	head := c.head
	for n, entry := range entries {
		snapshot, err := accept(entry, head)
		if err != nil {
			return n, err
		}
		if snapshot {
			return max(n, 1), nil
		}
		head = position(entry)
	}
	return len(entries), nil
}

// accept checks a record that is to follow head. Its error is a wire.Refusal.
func accept(entry wire.Append, head wire.Position) (snapshot bool, err error) {
	if got := wire.Digest(sha256.Sum256(entry.Record)); got != entry.Digest {
		return false, wire.Refusal{Code: wire.Malformed, Reason: fmt.Sprintf("the record has digest %x, want %x", got, entry.Digest)}
	}
	header, err := wire.ParseHeader(entry.Record)
	if err != nil {
		return false, wire.Refusal{Code: wire.Malformed, Reason: err.Error()}
	}
	if err := header.Follows(head); err != nil {
		return false, wire.Refusal{Code: wire.Conflict, Reason: err.Error()}
	}
	if header.Sequence == 1 && !header.Snapshot {
		return false, wire.Refusal{Code: wire.Malformed, Reason: "the first record is not a snapshot"}
	}
	return header.Snapshot, nil
}

// write makes records durable that group has put together.
func (c *chain) write(entries []wire.Append) error {
	var data []byte
	for _, entry := range entries {
		data = appendEntry(data, entry.Digest, entry.Record)
	}
	last := entries[len(entries)-1]
	var err error
	if header, _ := wire.ParseHeader(last.Record); header.Snapshot {
		err = c.rotate(data, position(last))
	} else {
		err = c.extend(data, position(last))
	}
	if err != nil {
		return wire.Refusal{Code: wire.Storage, Reason: truncated(err.Error())}
	}
	c.stats.records.Add(uint64(len(entries)))
	c.stats.bytes.Add(uint64(len(data)))
	return nil
}

// truncated bounds a reason to what a refusal may say.
func truncated(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), 500)], "")
}

// extend writes at the end of the file. If there is no room, the file is cut back
// to what it was, and may be written to again. A sync that fails leaves nobody
// knowing what is on the disk, and the next may succeed without having written it.
func (c *chain) extend(data []byte, head wire.Position) error {
	if _, err := c.file.WriteAt(data, c.size); err != nil {
		if c.file.Truncate(c.size) != nil {
			c.broken()
		}
		return err
	}
	if err := c.sync(c.file); err != nil {
		c.broken()
		return err
	}
	c.size += int64(len(data))
	c.head = head
	return nil
}

// rotate begins a new file with a snapshot, and removes the old one.
func (c *chain) rotate(data []byte, head wire.Position) error {
	old, name := c.name, fileName(head.Sequence)
	made, err := c.disk.Create(name + newSuffix)
	if err != nil {
		c.broken()
		return err
	}
	if _, err = made.WriteAt(data, 0); err != nil {
		_ = made.Close()
	} else {
		err = c.install(made, name, int64(len(data)), head)
	}
	if err != nil {
		c.broken()
		return err
	}
	if old != "" {
		if err := c.disk.Remove(old); err != nil {
			c.log.Warn("a journal file that a snapshot stands for cannot be removed", "file", old, "error", err)
		}
	}
	return nil
}

// read gives every record from the snapshot on, checked once more.
func (c *chain) read(give func(wire.Entry) error) error {
	if c.head == (wire.Position{}) {
		return nil
	}
	f, err := c.disk.Open(c.name)
	if err != nil {
		return err
	}
	defer f.Close()
	scan := &scanner{name: c.name, reader: f, size: c.size}
	for {
		entry, err := scan.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, errTorn) {
			err = &DamageError{c.name, scan.offset, scan.head.Sequence, err}
		}
		if err == nil {
			err = give(entry)
		}
		if err != nil {
			return err
		}
	}
}
