// Starts Swagger UI on the document of this host. The key stays in the page: it is not kept by the browser.
window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#document",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  operationsSorter: "alpha",
  persistAuthorization: false,
  // The default sends the document to a validator on another host.
  validatorUrl: null,
  // With the default, a mail that links to this page could make it show another host's document.
  queryConfigEnabled: false,
});
