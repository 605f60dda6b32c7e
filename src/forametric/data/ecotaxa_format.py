"""Names of the EcoTaxa format that both the importer and the exporter use."""

PIXEL_SIZE_MM = "process_particle_pixel_size_mm"
