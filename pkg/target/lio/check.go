package lio

import "slices"

// Lacks says what the kernel lacks of a mapping that should be served; empty when nothing.
func (t *Target) Lacks(m Mapping) (string, error) {
	ready, err := t.HasVolume(m.Volume)
	if err != nil {
		return "", err
	}
	if !ready {
		return "its backstore", nil
	}
	for _, l := range []struct{ dir, to, name string }{
		{t.tpgLUN(m.TPGLUN), backstore(m.Volume), "its LUN of the target"},
		{t.mappedLUN(m.Initiator, m.LUN), t.tpgLUN(m.TPGLUN), "its LUN of the initiator"},
	} {
		there, err := t.leads(l.dir, l.to)
		if err != nil {
			return "", err
		}
		if !there {
			return l.name, nil
		}
	}
	return "", nil
}

// leads says whether a LUN directory has its link.
func (t *Target) leads(dir, to string) (bool, error) {
	links, err := t.tree.Links(dir)
	if err != nil || len(links) == 0 {
		return false, err
	}
	have, err := t.tree.Readlink(dir + "/" + links[0])
	return have == to, err
}

// Open says whether the target lets initiators in, and which of its portals the kernel does not have.
func (t *Target) Open() (enabled bool, missing []string, err error) {
	there, err := t.tree.Exists(t.tpg)
	if err != nil || !there {
		return false, nil, err
	}
	value, err := t.tree.Read(t.tpg + "/enable")
	if err != nil {
		return false, nil, err
	}
	have, err := t.tree.Dirs(t.tpg + "/np")
	if err != nil {
		return false, nil, err
	}
	for _, p := range t.cfg.Portals {
		if !slices.Contains(have, p.String()) {
			missing = append(missing, p.String())
		}
	}
	return value == "1", missing, nil
}
