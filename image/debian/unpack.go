package debian

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// UnpackVersion changes whenever Unpack lays the same packages out in another way, so that a cache of
// unpacked roots can tell.
const UnpackVersion = "1"

const (
	// maxFiles bounds the entries of one package; the largest, of headers, have some 20,000.
	maxFiles = 500_000
	// maxUnpacked bounds one package's files and their headers, in bytes.
	maxUnpacked = 8 << 30
)

// mergedDirectories are links into /usr on every Debian since bookworm (file-hierarchy(7), "merged
// /usr"), whatever a package calls them.
var mergedDirectories = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// omitted are directories that no build reads: a third of the files, and none of the use.
var omitted = []string{
	"usr/share/bug", "usr/share/doc", "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man",
}

// alternatives are the few links that maintainer scripts would have made and that builds ask for.
var alternatives = []struct{ link, target string }{
	{"usr/bin/awk", "mawk"},
	{"usr/bin/cc", "gcc"},
}

// Unpack unpacks binary packages into the directory root, which must be absent or empty.
//
// The result depends on the packages only, not on their order, the umask, the user or the clock:
// maintainer scripts are not run, two packages may share directories but no other path, files keep
// the permission bits and times they are packed with (set-id bits and owners apart), /bin, /lib
// and /sbin lead into /usr, documentation and translations are left out, and /usr/bin/cc and
// /usr/bin/awk are made as the alternatives system would. An archive that reaches outside of root, or
// holds a device, is an error. On any error root is empty or absent again.
func Unpack(ctx context.Context, debs []string, root string) (err error) {
	made, err := emptyDirectory(root)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clear(root, made))
		}
	}()
	t, err := newTree(root)
	if err != nil {
		return err
	}
	defer t.root.Close()
	if err := t.unpackAll(ctx, debs); err != nil {
		return err
	}
	return t.linkAlternatives()
}

// emptyDirectory makes root if it is absent, and fails if it holds anything.
func emptyDirectory(root string) (made bool, err error) {
	entries, err := os.ReadDir(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, os.MkdirAll(root, 0o755)
	case err != nil:
		return false, err
	case len(entries) > 0:
		return false, fmt.Errorf("unpack: %s is not empty", root)
	}
	return false, nil
}

// clear removes what was unpacked, and root itself if it was made.
func clear(root string, made bool) error {
	if made {
		return os.RemoveAll(root)
	}
	entries, err := os.ReadDir(root)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(root, e.Name())))
	}
	return err
}

// unpackAll unpacks the packages side by side, the largest first so that none is left over at the end.
func (t *tree) unpackAll(ctx context.Context, debs []string) error {
	bySize, err := largestFirst(debs)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, deb := range bySize {
		g.Go(func() error {
			if err := t.unpackFile(ctx, deb); err != nil {
				return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
			}
			return nil
		})
	}
	return g.Wait()
}

func largestFirst(debs []string) ([]string, error) {
	sizes := make(map[string]int64, len(debs))
	for _, deb := range debs {
		st, err := os.Stat(deb)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		sizes[deb] = st.Size()
	}
	return slices.SortedStableFunc(slices.Values(debs), func(a, b string) int { return cmp.Compare(sizes[b], sizes[a]) }), nil
}

func (t *tree) unpackFile(ctx context.Context, deb string) error {
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	return t.unpack(ctx, deb, f)
}

// unpack unpacks one package, known as owner in messages about conflicts.
func (t *tree) unpack(ctx context.Context, owner string, r io.Reader) error {
	files, finish, err := openData(r)
	if err != nil {
		return err
	}
	p := &unpacker{tree: t, owner: owner, files: files}
	for range maxFiles {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := files.Next()
		if err == io.EOF {
			return finish()
		}
		if err != nil {
			return fmt.Errorf("data archive: %w", err)
		}
		if err := p.entry(h); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	return fmt.Errorf("more than %d files", maxFiles)
}

// An unpacker unpacks the data archive of one package.
type unpacker struct {
	tree  *tree
	owner string
	files *tar.Reader
}

func (p *unpacker) entry(h *tar.Header) error {
	name, err := cleanName(h.Name)
	if err != nil || name == "." || isOmitted(name) {
		return err
	}
	if h.Typeflag == tar.TypeSymlink && name == h.Linkname {
		return nil // a package's own link of the merged layout, bin -> usr/bin
	}
	mode := fs.FileMode(h.Mode & 0o777)
	if h.Typeflag == tar.TypeDir {
		return p.tree.addDirectory(name, p.owner, mode|0o700)
	}
	if err := p.tree.claim(name, p.owner); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return p.regular(name, h, mode)
	case tar.TypeSymlink:
		return p.symlink(name, h.Linkname)
	case tar.TypeLink:
		return p.hardlink(name, h.Linkname)
	}
	return fmt.Errorf("type %q is not a file, directory or link", h.Typeflag)
}

// cleanName turns a name such as "./lib/x" into the place it has below a merged root, "usr/lib/x".
func cleanName(name string) (string, error) {
	s := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if s == "" || s == "." {
		return ".", nil
	}
	if !fs.ValidPath(s) || strings.ContainsRune(s, 0) {
		return "", errors.New("path is absolute, not clean, or escapes the root")
	}
	first, _, _ := strings.Cut(s, "/")
	if slices.Contains(mergedDirectories, first) {
		return "usr/" + s, nil
	}
	return s, nil
}

func isOmitted(name string) bool {
	return slices.ContainsFunc(omitted, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
}

func (p *unpacker) regular(name string, h *tar.Header, mode fs.FileMode) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errors.New("sparse file: its size is bounded by nothing") // Debian packs none
		}
	}
	f, err := p.tree.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, p.files)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return p.tree.root.Chtimes(name, h.ModTime, h.ModTime)
}

// symlink makes a symbolic link. An absolute target is meant for whoever has root as its root
// directory; a relative one must not climb out. Nothing is ever unpacked through a link.
func (p *unpacker) symlink(name, target string) error {
	if target == "" || strings.ContainsRune(target, 0) {
		return errors.New("symbolic link without a target")
	}
	if !path.IsAbs(target) && !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("symbolic link to %q escapes the root", target)
	}
	return p.tree.root.Symlink(target, name)
}

// hardlink links to a file that the same package has unpacked before.
func (p *unpacker) hardlink(name, target string) error {
	old, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	if isOmitted(old) || !p.tree.owns(p.owner, old) {
		return fmt.Errorf("hard link to %q, which this package has not unpacked", target)
	}
	return p.tree.root.Link(old, name)
}
