package debian_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/image/debian"
	"holdfast/image/debian/debiantest"
)

// packed writes packages to files and returns their names.
func packed(t testing.TB, debs ...[]byte) []string {
	var names []string
	for i, deb := range debs {
		name := filepath.Join(t.TempDir(), fmt.Sprintf("p%d.deb", i))
		if err := os.WriteFile(name, deb, 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// listing describes a tree, a line for each path, without the links of the merged layout.
func listing(t testing.TB, root string) string {
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		st, err := d.Info()
		if err != nil {
			return err
		}
		target, _ := os.Readlink(path)
		switch {
		case target == "usr/"+name || isMergedTarget(name) && d.IsDir():
		case d.IsDir():
			fmt.Fprintf(&b, "%s/ %o\n", name, st.Mode().Perm())
		case target != "":
			fmt.Fprintf(&b, "%s -> %s\n", name, target)
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %s %d %q\n", name, st.Mode(), st.ModTime().Unix(), data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func isMergedTarget(name string) bool {
	switch name {
	case "usr", "usr/bin", "usr/lib", "usr/lib32", "usr/lib64", "usr/libx32", "usr/sbin":
		return true
	}
	return false
}

const packedAt = "1681214400" // debiantest.PackedAt

func TestUnpacking(t *testing.T) {
	for name, row := range map[string]struct {
		debs [][]byte
		want string
	}{
		"files, directories and links": {
			[][]byte{debiantest.Deb(
				debiantest.Dir("./", 0o755), debiantest.Dir("./etc/", 0o700), debiantest.File("./etc/x", "one", 0o640),
				debiantest.Symlink("./etc/y", "x"), debiantest.Symlink("./etc/z", "/run/z"), debiantest.Hardlink("./etc/w", "./etc/x"))},
			"etc/ 700\netc/w -rw-r----- " + packedAt + " \"one\"\netc/x -rw-r----- " + packedAt + " \"one\"\netc/y -> x\netc/z -> /run/z\n"},
		"a package compressed with gzip": {
			[][]byte{debiantest.DebGzip(debiantest.File("./etc/x", "one", 0o644))},
			"etc/ 755\netc/x -rw-r--r-- " + packedAt + " \"one\"\n"},
		"a package that is not compressed": {
			[][]byte{debiantest.Frame("data.tar", debiantest.Tar(debiantest.File("etc/x", "one", 0o644)))},
			"etc/ 755\netc/x -rw-r--r-- " + packedAt + " \"one\"\n"},
		"the merged /usr": {
			[][]byte{debiantest.Deb(
				debiantest.Dir("./bin/", 0o755), debiantest.File("./bin/sh", "a", 0o755), debiantest.File("./usr/bin/ls", "b", 0o755),
				debiantest.File("./lib/x/y.so", "c", 0o644), debiantest.Hardlink("./usr/sbin/sh", "./bin/sh"), debiantest.File("./libfoo", "d", 0o644))},
			"libfoo -rw-r--r-- " + packedAt + " \"d\"\nusr/bin/ls -rwxr-xr-x " + packedAt + " \"b\"\nusr/bin/sh -rwxr-xr-x " + packedAt + " \"a\"\n" +
				"usr/lib/x/ 755\nusr/lib/x/y.so -rw-r--r-- " + packedAt + " \"c\"\nusr/sbin/sh -rwxr-xr-x " + packedAt + " \"a\"\n"},
		"a package's own links of the merged layout": {
			[][]byte{debiantest.Deb(debiantest.Symlink("./bin", "usr/bin"), debiantest.Symlink("./lib64", "usr/lib64"))}, ""},
		"set-id and sticky bits": {
			[][]byte{debiantest.Deb(debiantest.File("./etc/su", "x", 0o6755), debiantest.Dir("./tmp/", 0o1777))},
			"etc/ 755\netc/su -rwxr-xr-x " + packedAt + " \"x\"\ntmp/ 777\n"},
		"a directory that its owner could not write": {
			[][]byte{debiantest.Deb(debiantest.Dir("./etc/", 0o555), debiantest.File("./etc/x", "x", 0o444))},
			"etc/ 755\netc/x -r--r--r-- " + packedAt + " \"x\"\n"},
		"shared directories": {
			[][]byte{
				debiantest.Deb(debiantest.Dir("./var/", 0o755), debiantest.Dir("./var/x/", 0o750), debiantest.File("./var/x/a", "a", 0o644)),
				debiantest.Deb(debiantest.Dir("./var/x/", 0o775), debiantest.File("./var/x/b", "b", 0o644)),
				debiantest.Deb(debiantest.File("./var/x/c", "c", 0o644))},
			"var/ 755\nvar/x/ 750\nvar/x/a -rw-r--r-- " + packedAt + " \"a\"\nvar/x/b -rw-r--r-- " + packedAt + " \"b\"\nvar/x/c -rw-r--r-- " + packedAt + " \"c\"\n"},
		"documentation is left out": {
			[][]byte{debiantest.Deb(
				debiantest.Dir("./usr/share/", 0o755), debiantest.Dir("./usr/share/doc/", 0o755), debiantest.File("./usr/share/doc/bc/copyright", "x", 0o644),
				debiantest.File("./usr/share/man/man1/bc.1.gz", "x", 0o644), debiantest.File("./usr/share/locale/et/x.mo", "x", 0o644),
				debiantest.File("./usr/share/docile", "x", 0o644))},
			"usr/share/ 755\nusr/share/doc/ 755\nusr/share/docile -rw-r--r-- " + packedAt + " \"x\"\n"},
		"alternatives": {
			[][]byte{debiantest.Deb(debiantest.File("./usr/bin/mawk", "m", 0o755), debiantest.Symlink("./usr/bin/gcc", "gcc-12"))},
			"usr/bin/awk -> mawk\nusr/bin/cc -> gcc\nusr/bin/gcc -> gcc-12\nusr/bin/mawk -rwxr-xr-x " + packedAt + " \"m\"\n"},
		"an alternative that a package has itself": {
			[][]byte{debiantest.Deb(debiantest.File("./usr/bin/mawk", "m", 0o755), debiantest.File("./usr/bin/awk", "a", 0o755))},
			"usr/bin/awk -rwxr-xr-x " + packedAt + " \"a\"\nusr/bin/mawk -rwxr-xr-x " + packedAt + " \"m\"\n"},
		"nothing": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			if err := debian.Unpack(t.Context(), packed(t, row.debs...), root); err != nil {
				t.Fatal(err)
			}
			if got := listing(t, root); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

func TestHostileAndBrokenPackagesLeaveNothing(t *testing.T) {
	device := debiantest.Entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "./dev/mem", Devmajor: 1, Devminor: 1}}
	fifo := debiantest.Entry{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "./run/x"}}
	first := debiantest.Deb(debiantest.File("./etc/first", "x", 0o644))
	good := debiantest.Deb(debiantest.File("./etc/good", "x", 0o644))
	for name, row := range map[string]struct {
		deb  []byte
		want string
	}{
		"a path that climbs out":         {debiantest.Deb(debiantest.File("./../x", "", 0o644)), "escapes"},
		"a path that climbs out later":   {debiantest.Deb(debiantest.File("./usr/../../x", "", 0o644)), "escapes"},
		"an absolute path":               {debiantest.Deb(debiantest.File("/etc/x", "", 0o644)), "absolute"},
		"an unclean path":                {debiantest.Deb(debiantest.File("./etc//x", "", 0o644)), "not clean"},
		"a file through a link":          {debiantest.Deb(debiantest.Symlink("./out", "/etc"), debiantest.File("./out/x", "", 0o644)), "out is in the package twice"},
		"a directory through a link":     {debiantest.Deb(debiantest.Symlink("./out", "/"), debiantest.Dir("./out/x/", 0o755)), "out is in the package twice"},
		"a directory over a link":        {debiantest.Deb(debiantest.Symlink("./out", "/"), debiantest.Dir("./out/", 0o755)), "out is in the package twice"},
		"a link over a directory":        {debiantest.Deb(debiantest.Dir("./out/", 0o755), debiantest.Symlink("./out", "/")), "out is a directory"},
		"a link over the merged layout":  {debiantest.Deb(debiantest.Symlink("./bin", "/home")), "usr/bin is a directory"},
		"a link that climbs out":         {debiantest.Deb(debiantest.Symlink("./usr/x", "../../etc")), "escapes the root"},
		"a link to nothing":              {debiantest.Deb(debiantest.Symlink("./x", "")), "without a target"},
		"a hard link to outside":         {debiantest.Deb(debiantest.Hardlink("./x", "../../etc/passwd")), "escapes"},
		"a hard link to an absolute":     {debiantest.Deb(debiantest.Hardlink("./x", "/etc/passwd")), "absolute"},
		"a hard link to what is absent":  {debiantest.Deb(debiantest.Hardlink("./x", "./y")), "has not unpacked"},
		"a hard link to another package": {debiantest.Deb(debiantest.Hardlink("./x", "./etc/first")), "has not unpacked"},
		"a hard link to a directory":     {debiantest.Deb(debiantest.Dir("./d/", 0o755), debiantest.Hardlink("./x", "./d")), "has not unpacked"},
		"a device":                       {debiantest.Deb(device), "not a file, directory or link"},
		"a fifo":                         {debiantest.Deb(fifo), "not a file, directory or link"},
		"a file of holes":                {debiantest.Frame("data.tar", sparseTar()), "sparse file"},
		"a path twice":                   {debiantest.Deb(debiantest.File("./x", "1", 0o644), debiantest.File("./x", "2", 0o644)), "twice"},
		"a path twice by another name":   {debiantest.Deb(debiantest.File("./bin/x", "1", 0o644), debiantest.File("./usr/bin/x", "2", 0o644)), "twice"},
		"a path of another package":      {debiantest.Deb(debiantest.File("./etc/first", "2", 0o644)), "etc/first is also in p"},
		"a file below a file":            {debiantest.Deb(debiantest.File("./etc/first/x", "2", 0o644)), "etc/first is "},
		"no package":                     {[]byte("<html>"), "no ar magic"},
		"an empty file":                  {nil, "no ar magic"},
		"another first member":           {bytes.Replace(good, []byte("debian-binary"), []byte("debian_binary"), 1), `want "debian-binary"`},
		"another format":                 {bytes.Replace(good, []byte("2.0\n"), []byte("3.0\n"), 1), "package format"},
		"another second member":          {bytes.Replace(good, []byte("control.tar"), []byte("cantrol.tar"), 1), `want "control.tar"`},
		"another data member":            {debiantest.Frame("more.tar.xz", nil), `want "data.tar"`},
		"zstd":                           {debiantest.Frame("data.tar.zst", []byte("x")), `compression ".zst" is not supported`},
		"bzip2":                          {debiantest.Frame("data.tar.bz2", []byte("x")), `compression ".bz2" is not supported`},
		"data that is not xz":            {debiantest.Frame("data.tar.xz", []byte("xxxxxxxxxxxxxxxxxxxxxxxx")), "xz"},
		"data that is not tar":           {debiantest.Frame("data.tar", bytes.Repeat([]byte("x"), 1024)), "data archive"},
		"a broken header":                {bytes.Replace(good, []byte("`\n"), []byte("'\n"), 1), "malformed ar header"},
		"a negative size":                {bytes.Replace(good, []byte("4         `"), []byte("-4        `"), 1), "malformed ar header"},
		"an enormous control member":     {[]byte("!<arch>\n" + arHeader("debian-binary", 4) + "2.0\n" + arHeader("control.tar", 1<<33)), "at most"},
		"trailing bytes":                 {append(bytes.Clone(good), "xx"...), "trailing bytes"},
		"cut in the header":              {good[:60], "truncated"},
		"cut in the control member":      {good[:140], "truncated"},
		"cut in the data":                {good[:len(good)-40], "xz: data is truncated"},
		"bits after the files":           {debiantest.Frame("data.tar.xz", append(debiantest.XZ(debiantest.Tar()), "rubbish."...)), "xz:"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			err := debian.Unpack(t.Context(), packed(t, first, row.deb), root)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "unpack p") {
				t.Errorf("error %v, want one with %q that names the package", err, row.want)
			}
			if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
				t.Errorf("%v remain (%v)", entries, err)
			}
		})
	}
}

// sparseTar returns an archive of one file that is a tebibyte of zeros in GNU's sparse format 1.0.
// archive/tar reads that format but does not write it, so the keys are put in afterwards.
func sparseTar() []byte {
	data := debiantest.Tar(debiantest.Entry{Content: "0\n" + strings.Repeat("\x00", 510), Header: tar.Header{
		Typeflag: tar.TypeReg, Name: "./x", PAXRecords: map[string]string{
			"ABC.sparse.major": "1", "ABC.sparse.minor": "0", "ABC.sparse.name": "./x", "ABC.sparse.realsize": "1099511627776",
		}}})
	return bytes.ReplaceAll(data, []byte("ABC.sparse"), []byte("GNU.sparse"))
}

func arHeader(name string, size int) string {
	return fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", size)
}

func TestUnpackMakesItsDirectoryAndRemovesItOnFailure(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "b")
	if err := debian.Unpack(t.Context(), packed(t, []byte("x")), root); err == nil {
		t.Fatal("unpacked")
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of the root: %v, want that it is gone", err)
	}
}

func TestUnpackLeavesAFullDirectoryAlone(t *testing.T) {
	root := t.TempDir()
	keep := filepath.Join(root, "keep")
	if err := os.WriteFile(keep, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := debian.Unpack(t.Context(), nil, root); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v, want that the directory is not empty", err)
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
}

func TestAMissingPackageIsNamed(t *testing.T) {
	if err := debian.Unpack(t.Context(), []string{"/nowhere/x.deb"}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "x.deb") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

func TestACancelledUnpackLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := t.TempDir()
	if err := debian.Unpack(ctx, packed(t, debiantest.Deb(debiantest.File("./x", "x", 0o644))), root); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
		t.Errorf("%v remain (%v)", entries, err)
	}
}

// A test that changes the umask must not run beside another.
func TestOrderAndUmaskDoNotShow(t *testing.T) {
	var debs [][]byte
	for i := range 20 {
		debs = append(debs, debiantest.Deb(
			debiantest.Dir("./var/shared/", int64(0o700|i)), // each with other bits
			debiantest.File(fmt.Sprintf("./var/shared/deep/%d/file", i%3*100+i), strings.Repeat("x", i*1000), 0o644),
			debiantest.Symlink(fmt.Sprintf("./bin/l%d", i), "sh")))
	}
	names := packed(t, debs...)
	var first string
	for round := range 20 {
		root := t.TempDir()
		old := syscall.Umask([]int{0o022, 0o077, 0, 0o777}[round%4])
		err := debian.Unpack(t.Context(), names, root)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		got := listing(t, root)
		if round == 0 {
			first = got
		}
		if got != first {
			t.Fatalf("round %d gave\n%s\nand the first\n%s", round, got, first)
		}
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	}
}

func FuzzDeb(f *testing.F) {
	f.Add(debiantest.Deb(debiantest.Dir("./etc/", 0o755), debiantest.File("./etc/x", "one", 0o644), debiantest.Symlink("./y", "etc/x")))
	f.Add(debiantest.DebGzip(debiantest.File("./bin/x", "one", 0o755), debiantest.Hardlink("./x", "./bin/x")))
	f.Add(debiantest.Frame("data.tar", debiantest.Tar(debiantest.Symlink("./out", ".."), debiantest.File("./out/x", "", 0o644))))
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, deb []byte) {
		outside := t.TempDir()
		root := filepath.Join(outside, "root")
		err := debian.Unpack(t.Context(), packed(t, deb), root)
		entries, readErr := os.ReadDir(outside)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if err == nil && (len(entries) != 1 || entries[0].Name() != "root") || err != nil && len(entries) != 0 {
			t.Errorf("with error %v, %v lies outside of the root", err, entries)
		}
	})
}
