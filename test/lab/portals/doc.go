// Package portals holds the scenario of a target that gains and loses portals while its volumes are in use.
package portals
