/* Cells of a sample, see cells.c. */
size_t fit_cells(const int16_t *sample, size_t count, size_t dim, const float *axis, size_t cells, int16_t *centroids,
                 uint16_t *of_photos, int level);
