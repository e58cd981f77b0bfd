package judgement

import (
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"regexp"
	"strings"

	"holdfast/verify/attestation/document"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// moduleID is the form of an enclave's module_id. A NitroTPM's ends in
// -tpm0000000000000000.
var moduleID = regexp.MustCompile(`^i-[0-9a-f]{8,17}-enc[0-9a-f]{16}$`)

// platform applies P1: other parts of the Nitro System make documents of the
// same form under the same root.
func (j *judge) platform() {
	got := fmt.Sprintf("module_id %q", j.doc.ModuleID)
	if strings.Contains(j.doc.ModuleID, "-tpm") {
		got += ", a NitroTPM"
	}
	j.r.Record(report.P1, moduleID.MatchString(j.doc.ModuleID), "an enclave, i-…-enc…", got)
}

// debug applies E3: in debug mode the hypervisor reports PCR0, PCR1 and PCR2 as
// zero, whatever runs. PCR3 and PCR4 are set even then.
func (j *judge) debug() {
	for i := range 3 {
		switch pcr, ok := j.doc.PCRs[i]; {
		case !ok:
			j.r.Fail(report.E3, "PCR0, PCR1 and PCR2 not zero", fmt.Sprintf("no PCR%d", i))
			return
		case pcr.IsZero():
			j.r.Fail(report.E3, "PCR0, PCR1 and PCR2 not zero", fmt.Sprintf("PCR%d is zero: the enclave runs in debug mode", i))
			return
		}
	}
	j.r.Pass(report.E3, "PCR0, PCR1 and PCR2 not zero", "not zero")
}

// measurements applies E1, E2 and E4.
func (j *judge) measurements() {
	published, err := j.published()
	if err != nil {
		j.r.Fail(report.E2, "a PCRS.md with an active release", err.Error())
		j.r.Skip(report.E1, "published measurements", "E2 failed")
		j.r.Skip(report.E4, "published measurements", "E2 failed")
		return
	}
	got := fmt.Sprintf("%d entries", len(published.Entries()))
	if j.policy.SignedBy != "" {
		got += fmt.Sprintf(", signed by %q", j.policy.SignedBy)
	}
	j.r.Pass(report.E2, "a PCRS.md with an active release", got)
	pcr := j.doc.PCRs
	entry, found := published.Match(pcr[0], pcr[1], pcr[2])
	switch {
	case !found:
		j.r.Fail(report.E1, "one published entry, all three together", nearest(published, pcr))
		j.r.Skip(report.E4, "what the entry says", "E1 failed")
	case entry.Status != pcrs.Active:
		j.r.Fail(report.E1, "an active release", fmt.Sprintf("release %s, which is %s", entry.Version, entry.Status))
		j.r.Skip(report.E4, "what the entry says", "E1 failed")
	default:
		j.out.Entry = entry
		j.r.Pass(report.E1, "one published entry, all three together", fmt.Sprintf("release %s for %s: PCR0 %s, PCR1 %s, PCR2 %s", entry.Version, entry.Image.Architecture, pcr[0], pcr[1], pcr[2]))
		j.signer(entry)
	}
}

// published returns the measurements that count under the policy. It is an
// error if there are none: an empty policy accepts nothing.
func (j *judge) published() (*pcrs.File, error) {
	if j.policy.Measurements == nil {
		return nil, fmt.Errorf("no PCRS.md")
	}
	f := &pcrs.File{}
	active := false
	for _, r := range j.policy.Measurements.Releases {
		if j.policy.Release != "" && r.Version != j.policy.Release {
			continue
		}
		f.Releases = append(f.Releases, r)
		active = active || r.Status == pcrs.Active
	}
	for _, e := range f.Entries() {
		if e.Image.PCR0.IsZero() || e.Image.PCR1.IsZero() || e.Image.PCR2.IsZero() {
			return nil, fmt.Errorf("release %s publishes a measurement of zero", e.Version)
		}
	}
	if len(f.Entries()) == 0 || !active {
		return nil, fmt.Errorf("no active release %s", j.policy.Release)
	}
	return f, nil
}

// nearest describes how far the registers are from the entry that shares most
// of them.
func nearest(f *pcrs.File, got map[int]pcrs.PCR) string {
	best, most := "", -1
	for _, e := range f.Entries() {
		var lines []string
		same := 0
		for i, want := range []pcrs.PCR{e.Image.PCR0, e.Image.PCR1, e.Image.PCR2} {
			if got[i] == want {
				same++
				continue
			}
			lines = append(lines, fmt.Sprintf("PCR%d %s, not %s", i, got[i], want))
		}
		if same > most {
			most = same
			best = fmt.Sprintf("%s (of release %s for %s)", strings.Join(lines, "; "), e.Version, e.Image.Architecture)
		}
	}
	return best
}

// signer applies E4. PCR8 alone never decides: whoever holds the signing key
// can sign anything.
func (j *judge) signer(entry pcrs.Entry) {
	pcr8 := j.doc.PCRs[8]
	want := entry.Image.PCR8
	if want.IsZero() {
		got := "zero: the image has no signature"
		if !pcr8.IsZero() {
			got = "signed: " + pcr8.String()
		}
		j.r.Pass(report.E4, "none published", got)
		return
	}
	same := subtle.ConstantTimeCompare(pcr8[:], want[:]) == 1
	j.r.Record(report.E4, same, want.String(), pcr8.String())
}

// emptyRamdisk is PCR2 of an image without an application ramdisk.
var emptyRamdisk = func() pcrs.PCR {
	nothing := sha512.Sum384(nil)
	return document.Extend(pcrs.PCR{}, nothing[:])
}()

// applicationRamdisk applies E5, for information. What is published decides.
func (j *judge) applicationRamdisk() {
	got := "measured in PCR2"
	if j.doc.PCRs[2] == emptyRamdisk {
		got = "none: PCR2 measures nothing"
	}
	j.r.Pass(report.E5, "", got)
}

// instance applies E6: PCR4 measures the parent instance's id, which module_id
// repeats.
func (j *judge) instance() {
	want := document.Extend(pcrs.PCR{}, []byte(j.doc.InstanceID()))
	got := "none"
	pcr4, there := j.doc.PCRs[4]
	if there {
		got = pcr4.String()
	}
	j.r.Record(report.E6, there && pcr4 == want, fmt.Sprintf("%s for instance %q", want, j.doc.InstanceID()), got)
}

// stockKernels are the PCR1 of AWS's prebuilt kernels.
var stockKernels = map[string]string{
	"bcdf05fefccaa8e55bf2c8d6dee9e79bbff31e34bf28a99aa19e6b29c37ee80b214a414b7607236edf26fcb78654e63f": "nitro-cli before 1.3",
	"0343b056cd8485ca7890ddd833476d78460aed2aa161548e4e26bedf321726696257d623e8805f3f605946b3d8b0c6aa": "nitro-cli 1.3 and 1.4",
	"4b4d5b3661b3efc12920900c80e126e4ce783c522de6c02a2a5bf7af3a2b9327b86776f188e4be1c1c404a129dbda493": "newer nitro-cli",
}

// kernel applies E7, for information.
func (j *judge) kernel() {
	got := "not a stock AWS kernel"
	if by, stock := stockKernels[j.doc.PCRs[1].String()]; stock {
		got = "stock AWS kernel of " + by
	}
	j.r.Pass(report.E7, "", got)
}
