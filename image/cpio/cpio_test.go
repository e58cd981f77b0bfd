package cpio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/image/cpio"
)

func dir(path string) cpio.Entry {
	return cpio.Entry{Path: path, Kind: cpio.Directory, Mode: 0o755}
}

func file(path, content string) cpio.Entry {
	return cpio.Entry{Path: path, Kind: cpio.File, Mode: 0o755, Data: []byte(content)}
}

func link(path, target string) cpio.Entry {
	return cpio.Entry{Path: path, Kind: cpio.Symlink, Mode: 0o777, Data: []byte(target)}
}

// tree has each kind, every content length modulo 4, and names that sort between a directory and its content.
func tree() []cpio.Entry {
	return []cpio.Entry{
		dir("app"), file("app/enclave", "12345678"), file("app-data", "1"), file("app.txt", "12"),
		dir("dev"), file("init", "123"), link("lib", "usr/lib"), dir("proc"), file("empty", ""),
		file("usr/lib/deep/er/file", "parents are made"),
	}
}

func marshal(t *testing.T, entries []cpio.Entry) []byte {
	t.Helper()
	archive, err := cpio.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

func TestTheArchiveIsTheSameByteForByte(t *testing.T) {
	got := marshal(t, []cpio.Entry{file("init", "hello")})
	want := "070701" + "00000001" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00\x00" + "hello\x00\x00\x00" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\x00"
	want += strings.Repeat("\x00", 512-len(want))
	if string(got) != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestTheOrderOfEntriesDoesNotShow(t *testing.T) {
	want := marshal(t, tree())
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		shuffled := tree()
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		before := slices.Clone(shuffled)
		if got := marshal(t, shuffled); !bytes.Equal(got, want) {
			t.Fatalf("order %v gives another archive", shuffled)
		}
		if !slices.EqualFunc(before, shuffled, cpio.Entry.Equal) {
			t.Fatal("the caller's entries were reordered")
		}
	}
}

func TestMissingParentsAreMade(t *testing.T) {
	implicit := marshal(t, []cpio.Entry{file("usr/lib/x", "x")})
	explicit := marshal(t, []cpio.Entry{dir("usr"), dir("usr/lib"), file("usr/lib/x", "x")})
	if !bytes.Equal(implicit, explicit) {
		t.Error("made parents differ from given ones")
	}
}

func TestAnArchiveFillsWholeBlocks(t *testing.T) {
	for size := range 1100 {
		archive := marshal(t, []cpio.Entry{file("f", strings.Repeat("x", size))})
		if len(archive)%512 != 0 {
			t.Fatalf("content of %d bytes: archive of %d bytes", size, len(archive))
		}
	}
}

func TestParseReturnsTheTree(t *testing.T) {
	parsed, err := cpio.Parse(marshal(t, tree()))
	if err != nil {
		t.Fatal(err)
	}
	want := append(tree(), dir("usr"), dir("usr/lib"), dir("usr/lib/deep"), dir("usr/lib/deep/er"))
	slices.SortFunc(want, func(a, b cpio.Entry) int { return strings.Compare(a.Path, b.Path) })
	if !slices.EqualFunc(parsed, want, cpio.Entry.Equal) {
		t.Errorf("got %v\nwant %v", parsed, want)
	}
}

func TestAnEmptyTreeIsATrailer(t *testing.T) {
	archive := marshal(t, nil)
	parsed, err := cpio.Parse(archive)
	if err != nil || len(parsed) != 0 || len(archive) != 512 {
		t.Errorf("got %v, %v from %d bytes", parsed, err, len(archive))
	}
}

func TestMarshalRejects(t *testing.T) {
	long := strings.Repeat("x", 4096)
	for _, test := range []struct {
		name    string
		entries []cpio.Entry
		want    string
	}{
		{"a path given twice", []cpio.Entry{file("a", "1"), file("a", "2")}, "strictly ascending"},
		{"a file for a parent", []cpio.Entry{file("a", ""), file("a/b", "")}, "no directory a"},
		{"a link for a parent", []cpio.Entry{link("a", "c"), file("a/b", "")}, "no directory a"},
		{"an absolute path", []cpio.Entry{file("/a", "")}, "clean relative path"},
		{"a path that climbs", []cpio.Entry{file("a/../b", "")}, "clean relative path"},
		{"a path with a dot", []cpio.Entry{file("./a", "")}, "clean relative path"},
		{"the root itself", []cpio.Entry{dir(".")}, "clean relative path"},
		{"no path", []cpio.Entry{file("", "")}, "clean relative path"},
		{"a trailing slash", []cpio.Entry{dir("a/")}, "clean relative path"},
		{"a space", []cpio.Entry{file("a b", "")}, "printable ascii"},
		{"a nul", []cpio.Entry{file("a\x00", "")}, "printable ascii"},
		{"a letter beyond ascii", []cpio.Entry{file("é", "")}, "printable ascii"},
		{"an overlong path", []cpio.Entry{file(long, "")}, "at most 4095"},
		{"the trailer's name", []cpio.Entry{file("TRAILER!!!", "")}, "ends an archive"},
		{"the zero entry", []cpio.Entry{{}}, "clean relative path"},
		{"no kind", []cpio.Entry{{Path: "a"}}, "want a directory, a file or a link"},
		{"a directory with data", []cpio.Entry{{Path: "a", Kind: cpio.Directory, Mode: 0o755, Data: []byte("x")}}, "want none"},
		{"a set-id bit", []cpio.Entry{{Path: "a", Kind: cpio.File, Mode: 0o755 | fs.ModeSetuid}}, "no bit beyond 0755"},
		{"a raw set-id bit", []cpio.Entry{{Path: "a", Kind: cpio.File, Mode: 0o4755}}, "no bit beyond 0755"},
		{"a sticky bit", []cpio.Entry{{Path: "a", Kind: cpio.Directory, Mode: 0o1755}}, "no bit beyond 0755"},
		{"a group's write bit", []cpio.Entry{{Path: "a", Kind: cpio.File, Mode: 0o775}}, "no bit beyond 0755"},
		{"a link with another mode", []cpio.Entry{{Path: "a", Kind: cpio.Symlink, Mode: 0o755, Data: []byte("b")}}, "want 0777"},
		{"a link to nothing", []cpio.Entry{link("a", "")}, "1 to 4095 printable"},
		{"a link with a nul", []cpio.Entry{link("a", "b\x00")}, "1 to 4095 printable"},
		{"an overlong link", []cpio.Entry{link("a", long)}, "1 to 4095 printable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			archive, err := cpio.Marshal(test.entries)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if archive != nil {
				t.Error("an archive came with the error")
			}
		})
	}
}

// set overwrites bytes of a copy.
func set(archive []byte, at int, value string) []byte {
	return slices.Replace(slices.Clone(archive), at, at+len(value), []byte(value)...)
}

func TestParseRejects(t *testing.T) {
	two := marshal(t, []cpio.Entry{dir("a"), file("b", "xyz")})
	const second = 112     // "a" takes 110+2 bytes
	const last = 112 + 116 // "b" takes 112 and 3 padded to 4
	if string(two[last:last+6]) != "070701" {
		t.Fatal("the trailer is not where this test expects it")
	}
	for _, test := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"nothing", nil, "header is 0 bytes"},
		{"another magic", set(two, 0, "070702"), `byte 0: magic is "070702"`},
		{"a gzip stream", set(two, 0, "\x1f\x8b"), "byte 0: magic"},
		{"lower-case digits", set(two, 14, "000041ed"), `byte 14: mode is "000041ed"`},
		{"a sign for a digit", set(two, 6, "+0000001"), "byte 6: inode"},
		{"another inode", set(two, 6, "00000002"), "byte 6: inode is 0x2, want 0x1"},
		{"an owner", set(two, 22, "00000001"), "byte 22: uid"},
		{"a group", set(two, 30, "00000001"), "byte 30: gid"},
		{"more links", set(two, second+38, "00000002"), "byte 150: nlink is 0x2, want 0x1"},
		{"a time", set(two, 46, "00000001"), "byte 46: mtime"},
		{"a directory with content", set(set(two, second+14, "000041ED"), second+38, "00000002"), "directory with 3 bytes of data"},
		{"a device", set(two, 62, "00000001"), "byte 62: devmajor"},
		{"a device's minor", set(two, 70, "00000001"), "byte 70: devminor"},
		{"a node", set(two, 78, "00000001"), "byte 78: rdevmajor"},
		{"a node's minor", set(two, 86, "00000001"), "byte 86: rdevminor"},
		{"no name", set(two, 94, "00000001"), "byte 94: namesize is 1"},
		{"a name beyond PATH_MAX", set(two, 94, "00001001"), "byte 94: namesize is 4097"},
		{"a name beyond the end", set(two, 94, "00001000"), "name is"},
		{"a checksum", set(two, 102, "00000001"), "byte 102: check"},
		{"a name without its nul", set(two, 111, "b"), "byte 110: name"},
		{"a nul in the name", set(two, 110, "\x00"), "byte 110: name"},
		{"content beyond the end", set(two, second+54, "FFFFFFFF"), "content of b is"},
		{"padding that is not zero", set(two, last-1, "x"), "byte 227: padding"},
		{"a character device", set(two, second+14, "000021A4"), "byte 126: mode"},
		{"a set-id bit", set(two, second+14, "000089ED"), "no bit beyond 0755"},
		{"entries out of order", set(two, 110, "c"), "strictly ascending"},
		{"a path given twice", set(two, 110, "b"), "strictly ascending"},
		{"an absolute path", set(two, 110, "/"), "clean relative path"},
		{"the root", set(two, 110, "."), "clean relative path"},
		{"a numbered trailer", set(two, last+6, "00000003"), "byte 234: inode"},
		{"a trailer with content", set(two, last+54, "00000004"), "filesize"},
		{"a byte after the trailer", set(two, last+124, "x"), "end padding"},
		{"a block too many", append(slices.Clone(two), make([]byte, 512)...), "byte 512: end is 512 more bytes"},
		{"a byte too many", append(slices.Clone(two), 0), "byte 512: end is 1 more bytes"},
		{"two archives", append(slices.Clone(two), two...), "byte 512: end"},
		{"no trailer", two[:last], "header is 0 bytes"},
		{"no end padding", two[:last+124], "end padding"},
		{"no parent", set(marshal(t, []cpio.Entry{dir("a"), file("a/b", "")}), 110, "A"), "no directory a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			parsed, err := cpio.Parse(test.archive)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if parsed != nil {
				t.Error("a tree came with the error")
			}
		})
	}
}

func TestEveryTruncationIsRejectedWithItsPlace(t *testing.T) {
	archive := marshal(t, tree())
	for n := range archive {
		_, err := cpio.Parse(archive[:n])
		var format *cpio.FormatError
		if !errors.As(err, &format) || format.Offset > int64(n) {
			t.Fatalf("%d of %d bytes: got %v", n, len(archive), err)
		}
	}
}

func TestEveryFlippedBitIsRejectedOrShows(t *testing.T) {
	archive := marshal(t, tree())
	for i := range archive {
		for bit := range 8 {
			flipped := slices.Clone(archive)
			flipped[i] ^= 1 << bit
			parsed, err := cpio.Parse(flipped)
			if err != nil {
				continue
			}
			if again := marshal(t, parsed); !bytes.Equal(again, flipped) {
				t.Fatalf("byte %d bit %d: accepted and lost", i, bit)
			}
		}
	}
}

func TestParsedDataCannotOverwriteTheArchive(t *testing.T) {
	archive := marshal(t, []cpio.Entry{file("a", "1234"), file("b", "5678")})
	parsed, err := cpio.Parse(archive)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(parsed[0].Data, "overwritten"...)
	if again, err := cpio.Parse(archive); err != nil || string(again[1].Data) != "5678" {
		t.Errorf("got %v, %v", again, err)
	}
}

func TestTheManifestHasALineForEachEntry(t *testing.T) {
	var got strings.Builder
	entries := []cpio.Entry{dir("app"), file("app/enclave", "abc"), link("lib", "usr/lib")}
	if err := cpio.WriteManifest(&got, entries); err != nil {
		t.Fatal(err)
	}
	want := "app  dir 0755 0 -\n" +
		"app/enclave  file 0755 3 ba7816bf8f01cfea\n" +
		"lib  link 0777 7 -> usr/lib\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// FuzzParse holds the reader to its contract: no panic, and what it accepts is canonical.
func FuzzParse(f *testing.F) {
	for _, entries := range [][]cpio.Entry{nil, tree(), {file("init", "hello")}, {link("a", "b"), dir("c")}} {
		archive, err := cpio.Marshal(entries)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive)
		f.Add(archive[:len(archive)/2])
	}
	f.Add([]byte("070701FFFFFFFFFFFFFFFFFFFFFFFF"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		parsed, err := cpio.Parse(archive)
		if err != nil {
			if parsed != nil {
				t.Fatal("a tree came with the error")
			}
			return
		}
		again, err := cpio.Marshal(parsed)
		if err != nil || !bytes.Equal(again, archive) {
			t.Fatalf("accepted %d bytes, wrote %d others: %v", len(archive), len(again), err)
		}
	})
}

// FuzzRoundTrip builds trees from bytes and reads them back.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a", "b/c", []byte("content"), uint32(0o755))
	f.Add("a/b", "a", []byte{}, uint32(0o644))
	f.Add("TRAILER!!!", "..", []byte{0}, uint32(0o7777))
	f.Fuzz(func(t *testing.T, first, second string, content []byte, mode uint32) {
		entries := []cpio.Entry{
			{Path: first, Kind: cpio.File, Mode: fs.FileMode(mode), Data: content},
			{Path: second, Kind: cpio.Directory, Mode: fs.FileMode(mode)},
		}
		archive, err := cpio.Marshal(entries)
		if err != nil {
			return
		}
		parsed, err := cpio.Parse(archive)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range entries {
			if !slices.ContainsFunc(parsed, want.Equal) {
				t.Fatalf("lost %v", want)
			}
		}
	})
}

func BenchmarkMarshal(b *testing.B) {
	entries := []cpio.Entry{file("app/enclave", strings.Repeat("x", 32<<20))}
	b.SetBytes(32 << 20)
	for b.Loop() {
		if _, err := cpio.Marshal(entries); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleMarshal() {
	archive, err := cpio.Marshal([]cpio.Entry{
		{Path: "init", Kind: cpio.File, Mode: 0o755, Data: []byte("\x7fELF")},
		{Path: "dev", Kind: cpio.Directory, Mode: 0o755},
	})
	fmt.Println(len(archive), err)
	// Output: 512 <nil>
}
