"""Parts of the Case page: choosing or uploading a case, outlining by hand, evidence."""
