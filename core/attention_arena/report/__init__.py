"""From a folder of records to tables, figures and a page; reads what a study wrote and nothing else."""
