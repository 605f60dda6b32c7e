"""Names in the EcoTaxa format that the importer and the exporter use."""

PIXEL_SIZE_MM = "process_particle_pixel_size_mm"  # the only pixel size with a stated unit
