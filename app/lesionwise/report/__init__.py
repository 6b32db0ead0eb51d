"""What people look at: the page of a case, with its pictures, the places of its lesions and the viewer."""
