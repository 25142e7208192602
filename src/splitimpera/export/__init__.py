"""A design becomes a bundle: the programs of each machine in their engine, and proof that they do what was designed."""

from splitimpera.export.bundling import Exported as Exported
from splitimpera.export.bundling import export_bundle as export_bundle
from splitimpera.export.placing import write_bundle as write_bundle
