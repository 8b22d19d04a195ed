"""Data: sources of pixels and kinds of rows, joined by one data module, `zoo.data.module.DataModule`.

A source (`zoo.data.sources.Source`) says what there is of each split, before it has a size: arrays, files, halves of
files, or two domains of these, each with labels and a digest. A kind of rows (`zoo.data.module.Rows`) asks for it at a
size and makes batches of it. The data module loads, orders, shares among processes and evaluates, whatever the two are.
A set is a class of a few lines that names one of each; its settings are one flat column of annotated names.

    source                                 rows                    sets (data=)
    memory: arrays                         images                  mnist5k, digits, mnist, fashion_mnist, cifar10,
                                                                   scenes
    memory: arrays of two domains          pairs                   colour_digits (apart), masked_digits (aligned)
    folder or archive                      images                  folder, celeba
    folder or archive, labelled            images                  labelled_folder
    two folders or archives                pairs                   unpaired_folder (apart), paired_folder (aligned)
    halves of files                        pairs                   paired_folder layout=side_by_side
    folder or archive                      corrupted pairs         corrupted_folder
    folder or archive                      patches                 super_resolution_folder, photos

Labels are a class each or a vector of attributes. They come with the arrays, or are those of the first subfolder, of
the arrays beside the images of an .npz, or of a table, a CSV or a dataset.json.

`files` and `archives` find images, `labels` reads tables, `deep`, `reading`, `values` and `cache` decode and keep
images and find the range of their values: none of them knows torch or Lightning. `check` looks a folder over before it
is trained on; `embedded`, `embedded_pairs`, `scenes`, `public`, `folder`, `pair_folders`, `corrupted_folder` and
`super_resolution` hold the sets.
"""
