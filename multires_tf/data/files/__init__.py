"""Files of scanners and clinics: images in, images and series out."""
